"""An atlas file with a fault is refused whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.errors import PolicyError
from support.residency import TINY_DOCUMENT, an_atlas

TITLE = {"title": "t", "source": "s"}
MEMBER = {"territory": "FR", "from": "2000-01-01", "source": "s"}


def group(*members: dict[str, Any]) -> dict[str, Any]:
    return {"groups": {"G": {"title": "t", "members": list(members)}}}


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another format": ({"format": "other/1"}, "format", "nordan-atlas/1"),
    "an unknown field": ({"more": 1}, "more", "no such field"),
    "no version": ({"version": ""}, "version", "empty"),
    "a territory without a name": ({"territories": {"FR": {}}}, "territories.FR.name", "missing"),
    "a code in another width": (
        {"territories": {"\uff26\uff32": {"name": "x"}}},
        "territories",
        "no code",
    ),
    "a code with a line's end": ({"territories": {"FR\n": {"name": "x"}}}, "territories", "no code"),
    "a group with a letter that looks like another": (
        {"groups": {"\u0415U": {"title": "t", "members": []}}},
        "groups",
        "no name",
    ),
    "a parent that is not listed": (
        {"territories": {"PR": {"name": "x", "parent": "US"}}},
        "PR",
        "not among the atlas's territories",
    ),
    "a parent that has a parent": (
        {"territories": {"A": {"name": "a"}, "B": {"name": "b", "parent": "A"}, "C": {"name": "c", "parent": "B"}}},
        "territories.C.parent",
        "not a state",
    ),
    "a member that is not listed": (group({**MEMBER, "territory": "DE"}), "groups.G.territory", "'DE'"),
    "a member without a source": (group({"territory": "FR", "from": "2000-01-01"}), "groups.G.FR.source", "found"),
    "a member without a date": (group({"territory": "FR", "source": "s"}), "groups.G.FR.from", "found nothing"),
    "a membership that ends before it begins": (
        group({**MEMBER, "until": "1999-01-01"}),
        "groups.G.FR.until",
        "before it begins",
    ),
    "two memberships at once": (group(MEMBER, {**MEMBER, "from": "2001-01-01"}), "groups.G.FR", "overlap"),
    "a group named like a territory": (
        {"groups": {"FR": {"title": "t", "members": []}}},
        "groups",
        "a group and a territory at once",
    ),
    "a group that is derived": (
        {"groups": {"ADEQUATE": {"title": "t", "members": []}}},
        "groups.ADEQUATE",
        "follows from 'adequacy'",
    ),
    "a level that includes an unknown one": (
        {"certifications": {"x": {**TITLE, "levels": {"high": ["low"]}}}},
        "certifications.x.levels",
        "'low'",
    ),
    "an alias for an unknown code": ({"aliases": {"UK": "GB"}}, "aliases.UK", "'GB'"),
    "an alias that is a code itself": ({"aliases": {"FR": "SE"}}, "aliases.FR", "itself"),
    "an unassigned code that is assigned": ({"unassigned": {"FR": "no"}}, "unassigned.FR", "itself"),
}


@pytest.mark.parametrize(("changes", "field", "said"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        an_atlas(**changes)
    assert caught.value.field == field
    assert said in caught.value.message


def test_what_is_not_json_is_refused() -> None:
    for data in (b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b"9" * 5000):
        with pytest.raises(PolicyError):
            parse_atlas(data)


def test_a_key_said_twice_is_refused() -> None:
    twice = json.dumps(TINY_DOCUMENT).replace('"version": "tiny"', '"version": "tiny", "version": "other"')
    with pytest.raises(PolicyError, match="says a key twice"):
        parse_atlas(twice.encode())


def test_levels_that_include_each_other_are_equals() -> None:
    scheme = {**TITLE, "levels": {"a": ["b"], "b": ["a"]}}
    atlas = an_atlas(certifications={"x": scheme})
    assert atlas.schemes["x"].satisfies("a", "b")
    assert atlas.schemes["x"].satisfies("b", "a")


def test_a_membership_may_begin_the_day_another_ends() -> None:
    first, second = {**MEMBER, "until": "2001-01-01"}, {**MEMBER, "from": "2001-01-01"}
    assert an_atlas(**group(second, first)).is_group("G")
