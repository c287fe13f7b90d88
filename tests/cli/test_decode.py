"""Answers into dataclasses: needed fields checked, others passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from nordan_cli.decode import decode, decode_items
from nordan_cli.errors import Unreadable


@dataclass(frozen=True)
class Inner:
    """A part."""

    name: str


@dataclass(frozen=True)
class Thing:
    """Every kind of field that answers have."""

    name: str
    count: int = 0
    price: float | None = None
    at: datetime | None = None
    is_on: bool = False
    inner: Inner | None = None
    parts: tuple[Inner, ...] = ()
    free: object = None
    values: Mapping[str, int] = field(default_factory=dict)


def test_all_kinds_of_fields_are_read_and_newer_ones_passed_over() -> None:
    answer = {
        "name": "a",
        "count": 2,
        "price": "2.50",
        "at": "2026-11-01T02:00:00+02:00",
        "is_on": True,
        "inner": {"name": "i", "new": 1},
        "parts": [{"name": "p"}],
        "free": [1],
        "values": {"x": 1},
        "newer": "field",
    }
    at = datetime(2026, 11, 1, tzinfo=UTC)
    assert decode(Thing, answer) == Thing("a", 2, 2.5, at, True, Inner("i"), (Inner("p"),), [1], {"x": 1})


def test_absent_and_null_fields_take_their_defaults() -> None:
    assert decode(Thing, {"name": "a", "count": None, "parts": None}) == Thing("a")


FAULTS: dict[str, tuple[object, str]] = {
    "a missing field": ({}, "thing.name is absent and not str"),
    "a wrong type": ({"name": 1}, "thing.name is int and not str"),
    "a boolean for a number": ({"name": "a", "count": True}, "thing.count is bool and not int"),
    "an instant without a zone": ({"name": "a", "at": "2026-11-01T00:00:00"}, "not an instant with its zone"),
    "an instant that is none": ({"name": "a", "at": "soon"}, "thing.at is 'soon' and not an instant"),
    "an amount that is none": ({"name": "a", "price": "dear"}, "thing.price is 'dear' and not a number"),
    "an object for a list": ({"name": "a", "parts": {}}, "thing.parts is dict and not a list"),
    "a fault in a part": ({"name": "a", "parts": [{}]}, "thing.parts.0.name is absent"),
    "a list for an object": ({"name": "a", "values": []}, "thing.values is list and not an object"),
    "no object at all": ([], "thing is list and not an object"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_cannot_be_read_is_named(case: str) -> None:
    answer, message = FAULTS[case]
    with pytest.raises(Unreadable) as error:
        decode(Thing, answer)
    assert message in str(error.value)


def test_a_list_answer_is_read_item_by_item() -> None:
    assert decode_items(Inner, {"items": [{"name": "a"}]}) == (Inner("a"),)
    with pytest.raises(Unreadable, match="items is not a list"):
        decode_items(Inner, {})
