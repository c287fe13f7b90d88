"""The sample world and the page about world documents say what the parser says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from nordan_cli import jobfile
from nordan_core import world
from nordan_core.world import parse_world
from support.pages import ROOT, Block, page, pages

EUROPE = ROOT / "deploy" / "world" / "europe.yaml"
DOCUMENTED = (
    world.ControlPlaneDocument,
    world.EntityDocument,
    world.OwnerDocument,
    world.RegionDocument,
    world.PoolDocument,
    world.CertificationDocument,
    world.OrganisationDocument,
    world.ProjectDocument,
)


def documents(path: Path) -> list[Mapping[str, Any]]:  # Any: the parser under test checks it
    return list(jobfile.load_all(path))


def blocks() -> list[Block]:
    return [block for one in pages() for block in one.blocks("yaml world")]


def test_the_sample_world_is_valid() -> None:
    assert {one.kind for one in parse_world(documents(EUROPE))} == {"ControlPlane", "Entity", "Pool", "Region"}


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page}:{block.line}")
def test_world_documents_shown_are_valid(block: Block) -> None:
    parse_world(jobfile.parse(block.body, block.page))


def test_every_name_in_the_sample_world_is_defined_in_it() -> None:
    found = documents(EUROPE)
    entities = {one["name"] for one in found if one["kind"] == "Entity"}
    regions = {one["name"] for one in found if one["kind"] == "Region"}
    named = {one[field] for one in found for field in ("operator", "host", "provider") if field in one}
    named |= {owner["owner"] for one in found for owner in one.get("owners", [])}
    assert named <= entities
    assert {one["region"] for one in found if one["kind"] == "Pool"} == regions


def test_the_page_lists_every_field_of_every_kind() -> None:
    fields = {name for kind in DOCUMENTED for name in fields_of(kind)}
    text = page("docs/reference/world.md").prose
    assert [name for name in sorted(fields) if f"| `{name}` |" not in text] == []


def fields_of(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields) - {"kind"}
