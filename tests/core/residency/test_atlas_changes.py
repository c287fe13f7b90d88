"""What two versions of the atlas say differently, and which of them is the newer."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.atlas_changes import AtlasChange, changes_between, version_order
from nordan_core.residency.errors import PolicyError

Json = dict[str, Any]
OLD = default_atlas()


def changed(kind: str, name: str, entry: Any) -> list[tuple[str, str, str, str]]:
    document = json.loads(default_atlas_bytes())
    if entry is None:
        del document[kind][name]
    else:
        document[kind][name] = entry
    return told(document)


def told(document: Json) -> list[tuple[str, str, str, str]]:
    new = parse_atlas(json.dumps(document).encode())
    backwards = [AtlasChange(one.kind, one.name, one.after, one.before) for one in changes_between(new, OLD)]
    assert backwards == list(changes_between(OLD, new)), "what one adds, the other takes away"
    return [(one.kind, one.name, one.before, one.after) for one in changes_between(OLD, new)]


def test_an_atlas_differs_in_nothing_from_itself() -> None:
    assert changes_between(OLD, OLD) == ()


def test_a_territory_may_come_go_or_change_hands() -> None:
    assert changed("territories", "XX", {"name": "New"}) == [("territory", "XX", "", "New")]
    assert changed("territories", "TW", {"name": "Taiwan", "parent": "CN"}) == [
        ("territory", "TW", "Taiwan", "Taiwan, of CN")
    ]


def test_a_note_or_a_source_is_no_law() -> None:
    document = json.loads(default_atlas_bytes())
    document["territories"]["TW"]["note"] = "other words"
    document["groups"]["EU"]["members"][0]["source"] = "another source"
    document["notes"] = []
    assert told(document) == []


def test_memberships_are_told_with_their_dates() -> None:
    document = json.loads(default_atlas_bytes())
    document["groups"]["EFTA"]["members"].pop(0)
    assert told(document) == [("group", "EFTA CH", "from 1960-05-03T00:00:00Z", "")]


def test_an_adequacy_decision_is_told_once_and_not_as_a_group_too() -> None:
    document = json.loads(default_atlas_bytes())
    [brazil] = [one for one in document["adequacy"] if one.get("territory") == "BR"]
    brazil["until"] = "2027-01-01"
    before = "from 2026-01-27T00:00:00Z"
    assert told(document) == [("adequacy", "BR", before, f"{before} until 2027-01-01T00:00:00Z")]


def test_levels_of_a_scheme_are_told_with_what_they_include() -> None:
    scheme = {"title": "x", "source": "y", "levels": {"one": [], "two": ["one"]}}
    assert changed("certifications", "new", scheme) == [("certification", "new", "", "one: one; two: one, two")]
    assert [one[:2] for one in changed("certifications", "c5", None)] == [("certification", "c5")]


ORDERED = ("a-2025-12", "zz-2026-01", "a-2026-01.1", "a-2026-01.2", "a-2026-01.10", "a-2026-02")


def test_versions_are_ordered_by_month_whoever_made_them() -> None:
    assert all(version_order(earlier) < version_order(later) for earlier, later in pairwise(ORDERED))
    assert version_order(OLD.version)


NO_MONTH = ("ours", "ours-2026", "ours-2026-13", "ours-2026-1", "2026-01", "ours-2026-01.0", "ours-\uff12026-01")


@pytest.mark.parametrize("version", NO_MONTH)
def test_a_version_that_says_no_month_is_refused(version: str) -> None:
    with pytest.raises(PolicyError, match="no year and month"):
        version_order(version)
