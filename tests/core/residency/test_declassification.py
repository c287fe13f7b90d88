"""What may be declassified at all: something wider, with evidence, and nothing that an owner closed."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.residency.declassification import (
    Declassification,
    declassification_document,
    parse_declassification,
    widened,
)
from nordan_core.residency.errors import PolicyError
from support.residency import ATLAS

BORN = {"process": ["FR"], "class": "confidential", "non_derogable": ["class"]}
WIDER = {"process": ["EU"], "class": "confidential", "non_derogable": ["class"]}


def a_text(**changes: Any) -> dict[str, Any]:
    """Return a text that lets a model leave France."""
    return {
        "id": "dcl_one",
        "project": "prj_one",
        "artifact": "art_model",
        "bytes": "a" * 64,
        "from": BORN,
        "to": WIDER,
        "evidence": {"digest": "b" * 64, "title": "membership inference, report of May"},
        "basis": "contract",
        "reason": "the model tells nothing of a person",
        "ticket": "DPO-7",
        "requested_by": "key_asks",
        **changes,
    }


def parsed(**changes: Any) -> Declassification:
    return parse_declassification(a_text(**changes), ATLAS)


def test_it_reads_back_as_it_was_written() -> None:
    assert parse_declassification(declassification_document(parsed()), ATLAS) == parsed()


@pytest.mark.parametrize("field", sorted(a_text()))
def test_each_part_is_needed_and_digested(field: str) -> None:
    with pytest.raises(PolicyError):
        parse_declassification({name: value for name, value in a_text().items() if name != field}, ATLAS)
    other = {
        "bytes": "c" * 64,
        "from": {**BORN, "process": ["SE"]},
        "to": {**WIDER, "process": ["EEA"]},
        "evidence": {"digest": "c" * 64, "title": "membership inference, report of May"},
    }.get(field, "something else")
    assert parsed(**{field: other}).digest != parsed().digest


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": BORN}, "to"),
        ({"to": {**BORN, "evidence": "E2"}}, "to"),
        ({"to": {**WIDER, "class": "internal"}}, "to.class"),
        ({"to": {"process": ["EU"], "non_derogable": ["class"]}}, "to.class"),
        ({"to": {"process": ["EU"], "class": "confidential"}}, "to.non_derogable"),
        ({"to": {"process": ["Europe"]}}, "to.process.0"),
        ({"evidence": {"digest": "short", "title": "x"}}, "evidence.digest"),
        ({"evidence": {"digest": "b" * 64}}, "evidence.title"),
    ],
)
def test_what_cannot_be_asked_for(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parsed(**changes)
    assert caught.value.field == field


def test_of_some_facets_those_are_told_that_become_wider_or_are_left_out() -> None:
    before = {"process": ["FR"], "store": ["FR"], "class": "confidential", "evidence": "E2"}
    after = {"process": ["EU"], "store": ["FR"], "evidence": "E3", "tenancy": "single"}
    one = parsed(**{"from": before, "to": after})
    assert widened(one, ["store", "process", "class", "evidence", "tenancy", "key"]) == ["class", "process"]
    assert widened(one, []) == []


@pytest.mark.parametrize("field", ["basis", "reason", "ticket"])
def test_no_text_is_longer_than_somebody_reads(field: str) -> None:
    assert parsed(**{field: "x" * 4_000})
    with pytest.raises(PolicyError, match="4001 characters, at most 4000") as caught:
        parsed(**{field: "x" * 4_001})
    assert caught.value.field == field
