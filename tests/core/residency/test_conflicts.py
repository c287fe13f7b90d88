"""Empty sets are found, and the layers that disagree are named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nordan_core.residency.conflicts import empty_facets
from nordan_core.residency.layers import Layer
from support.residency import ATLAS, NOW, a_layer, in_force

EMPTY: dict[str, tuple[list[Layer], list[tuple[str, list[str]]]]] = {
    "one layer allows nowhere": (
        [a_layer("input", "a", store=[]), a_layer("project", "p", store=["FR"])],
        [("store", ["a"])],
    ),
    "two layers share no place": (
        [a_layer("project", "p", process=["EU"]), a_layer("input", "a", process=["NO", "CH"])],
        [("process", ["p", "a"])],
    ),
    "the smallest pair is named": (
        [
            a_layer("organisation", "o", key=["EEA"]),
            a_layer("project", "p", key=["EU"]),
            a_layer("input", "a", key=["NO"]),
        ],
        [("key", ["p", "a"])],
    ),
    "three that share no place, though each two do": (
        [
            a_layer("project", "p", access=["FR", "SE"]),
            a_layer("input", "a", access=["SE", "NO"]),
            a_layer("input", "b", access=["NO", "FR"]),
        ],
        [("access", ["p", "a", "b"])],
    ),
    "three, though five state it": (
        [
            a_layer("organisation", "o", access=["EU", "NO"]),
            a_layer("project", "p", access=["FR", "SE"]),
            a_layer("input", "a", access=["SE", "NO"]),
            a_layer("input", "b", access=["NO", "FR"]),
            a_layer("job", "j", access=["FR", "SE", "NO"]),
        ],
        [("access", ["p", "a", "b"])],
    ),
    "several facets": (
        [
            a_layer("project", "p", residency=["FR"]),
            a_layer("input", "a", process=["SE"], describe=["SE"], store=["FR"]),
        ],
        [("process", ["p", "a"]), ("describe", ["p", "a"])],
    ),
    "a state is not its dependency": (
        [a_layer("project", "p", process=["FR"]), a_layer("input", "a", process=["GP"])],
        [("process", ["p", "a"])],
    ),
    "sets that meet": ([a_layer("project", "p", residency=["EU"]), a_layer("input", "a", residency=["FR"])], []),
    "nothing stated": ([], []),
}


@pytest.mark.parametrize(("layers", "conflicts"), EMPTY.values(), ids=EMPTY)
def test_an_empty_set_is_named_with_its_layers(layers: list[Layer], conflicts: list[tuple[str, list[str]]]) -> None:
    found = empty_facets(in_force(*layers), ATLAS, NOW)
    assert [(one.facet, [layer.name for layer in one.layers]) for one in found] == conflicts


def test_a_conflict_reads_as_a_sentence() -> None:
    both = in_force(a_layer("project", "default", process=["EU"]), a_layer("input", "patients", process=["NO"]))
    assert empty_facets(both, ATLAS, NOW)[0].message == (
        "process: project 'default' says [EU] and input 'patients' says [NO], which have no place in common"
    )
    alone = in_force(a_layer("input", "patients", process=[]))
    assert empty_facets(alone, ATLAS, NOW)[0].message == "process: input 'patients' says [], which allows nowhere"


def test_a_conflict_depends_on_the_instant() -> None:
    british = in_force(a_layer("project", process=["EU"]), a_layer("input", process=["GB"]))
    assert empty_facets(british, ATLAS, datetime(2019, 6, 1, tzinfo=UTC)) == ()
    assert len(empty_facets(british, ATLAS, NOW)) == 1
