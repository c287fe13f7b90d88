"""Each remark comes when it is due, and only then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nordan_core.residency.lint import lint
from nordan_core.residency.reading import print_instant
from support.residency import ATLAS, NOW, a_policy, an_atlas

SOUND: dict[str, object] = {"residency": ["SE"], "class": "internal", "forbid_exposure": ["US"]}
REMARKS: dict[str, tuple[dict[str, object], list[tuple[str, str, str]]]] = {
    "nothing": (SOUND, []),
    "nowhere": (
        {**SOUND, "residency": []},
        [("error", "allows_nowhere", facet) for facet in ("process", "store", "describe", "access", "key")],
    ),
    "a contradiction in one facet": (
        {**SOUND, "residency": {"all_of": [["SE"], ["NO"]]}},
        [("error", "allows_nowhere", facet) for facet in ("process", "store", "describe", "access", "key")],
    ),
    "an end that has come": ({**SOUND, "valid_until": print_instant(NOW)}, [("error", "has_ended", "valid_until")]),
    "an end that comes": (
        {**SOUND, "valid_until": print_instant(NOW + timedelta(days=29))},
        [("warning", "ends_soon", "valid_until")],
    ),
    "an end far away": ({**SOUND, "valid_until": print_instant(NOW + timedelta(days=31))}, []),
    "process and describe apart": (
        {"process": ["SE"], "store": ["SE"], "describe": ["FI"], "access": ["SE"], "key": ["SE"]},
        [("error", "no_place_in_common", "describe")],
    ),
    "a place that describe leaves out": (
        {"process": ["SE", "LT"], "store": ["SE"], "describe": ["SE"], "access": ["SE"], "key": ["SE"]},
        [("warning", "never_used", "process")],
    ),
    "some places unstated": ({"process": ["SE"], "store": ["SE"]}, [("warning", "place_not_stated", "describe")]),
    "no place stated": ({"class": "internal"}, [("hint", "no_place_stated", "process")]),
    "no place stated, but public": ({"class": "public"}, []),
    "allowed and forbidden": (
        {**SOUND, "process": ["SE", "PR"], "store": ["SE"], "describe": ["SE", "PR"], "access": ["SE"], "key": ["SE"]},
        [("warning", "allowed_yet_forbidden", "process"), ("warning", "allowed_yet_forbidden", "describe")],
    ),
    "egress unguarded": ({**SOUND, "egress": "unenforced"}, [("hint", "egress_unenforced", "egress")]),
    "restricted on trust": ({**SOUND, "class": "restricted"}, [("hint", "place_on_trust", "evidence")]),
    "restricted with proof": ({**SOUND, "class": "restricted", "evidence": "E1"}, []),
    "a state without its dependencies": ({**SOUND, "residency": ["FR"]}, [("hint", "read_narrowly", "process")]),
}
for _policy, _ in REMARKS.values():
    if "process" in _policy:
        _policy.pop("residency", None)


@pytest.mark.parametrize(("policy", "remarks"), REMARKS.values(), ids=REMARKS)
def test_the_remarks_are(policy: dict[str, object], remarks: list[tuple[str, str, str]]) -> None:
    found = lint(a_policy(**policy), ATLAS, NOW)
    assert [(one.severity, one.code, one.facet) for one in found] == remarks


def test_a_group_that_will_change_is_remarked() -> None:
    atlas = an_atlas()
    (found,) = [one for one in lint(a_policy(atlas, process=["UNION"]), atlas, NOW) if one.code == "group_changes"]
    assert "2027-01-01T00:00:00Z" in found.message


def test_the_gravest_comes_first() -> None:
    found = lint(a_policy(process=[], egress="unenforced", valid_until=print_instant(NOW)), ATLAS, NOW)
    severities = [one.severity for one in found]
    assert severities == sorted(severities, key=["error", "warning", "hint"].index)
    assert len(set(severities)) == 3
