"""Each rule of exposure, as the reference tells it by an example."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_cli import jobfile
from nordan_core.atlas.loader import default_atlas
from nordan_core.residency.exposure import exposure
from nordan_core.residency.ownership import foreign_shares
from nordan_core.world import parse_world
from nordan_core.world_facts import check_references, entity_of, state_of
from support.pages import Block, page
from support.residency import NOW

BLOCKS = list(page("docs/reference/exposure.md").blocks("yaml exposure"))
PERCENT = 10_000


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_an_example_of_exposure_is_what_the_judge_says(block: Block) -> None:
    expected, *documents = jobfile.parse(block.body, block.page)
    world = state_of(parse_world(documents))
    check_references(world)
    entities = {name: entity_of(document) for name, document in world.entities.items()}
    found = exposure(expected["of"], entities)
    said: dict[str, Any] = {"of": expected["of"]}
    said |= {"unknown": True} if found.is_unknown else {"exposed_to": sorted(found.territories)}
    for group in expected.get("ownership", ()):
        home = default_atlas().group(group, NOW)
        single, together = foreign_shares(expected["of"], entities, is_home=home.__contains__)
        said["ownership"] = {group: {"single": single // PERCENT, "collective": together // PERCENT}}
    assert said == expected


def test_every_rule_has_an_example() -> None:
    text = page("docs/reference/exposure.md").text
    _, *rules = text.split("\n## ")
    assert len(rules) == 6
    assert all("```yaml exposure" in rule for rule in rules)
