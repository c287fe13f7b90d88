"""A join asks no more than either side asks, and nothing that neither side would let through: each facet by example."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.residency.joins import joined
from support.residency import a_policy, an_atlas

#: One scheme, in which two levels above a common one do not include each other.
ATLAS = an_atlas(
    certifications={
        name: {"title": name, "levels": {"low": [], "left": ["low"], "right": ["low"]}, "source": "s"}
        for name in ("split", "other")
    }
)

JOINS: dict[str, tuple[str, Any, Any, Any]] = {
    "places of either": ("process", ["FR"], ["SE"], ["FR", "SE"]),
    "intersections": (
        "store",
        {"all_of": [["FR", "SE"], ["SE", "NO"]]},
        ["FR"],
        {"all_of": [["FR", "SE"], ["FR", "NO", "SE"]]},
    ),
    "states that both forbid": ("forbid_exposure", ["US", "NO"], ["US", "SE"], ["US"]),
    "the weaker level of a scheme": ("certifications", {"split": "left"}, {"split": "low"}, {"split": "low"}),
    "the weaker level, the other way round": ("certifications", {"split": "low"}, {"split": "left"}, {"split": "low"}),
    "the same level": ("certifications", {"split": "left"}, {"split": "left"}, {"split": "left"}),
    "levels that do not include each other": ("certifications", {"split": "left"}, {"split": "right"}, {}),
    "another scheme": ("certifications", {"split": "low"}, {"other": "low"}, {}),
    "one scheme of two": (
        "certifications",
        {"split": "left", "other": "low"},
        {"split": "left"},
        {"split": "left"},
    ),
    "the weaker beside others": (
        "certifications",
        {"split": "low"},
        {"other": "right", "split": "right"},
        {"split": "low"},
    ),
    "SEAL": ("seal_min", [1, 2, 3, 4, 0, 0, 0, 0], [2, 1, 3, 0, 0, 0, 0, 1], [1, 1, 3, 0, 0, 0, 0, 0]),
    "shares": (
        "ownership_max",
        {"UNION": {"single": 24, "collective": 30}, "FR": {"single": 5}},
        {"UNION": {"single": 20, "collective": 39}, "SE": {"single": 5}},
        {"UNION": {"single": 24, "collective": 39}},
    ),
    "a level": ("encryption", "byok", "rest", "rest"),
    "endpoints": ("egress", ["hub"], ["pip"], ["hub", "pip"]),
    "a waiver": ("egress", ["hub"], "unenforced", "unenforced"),
    "a waiver first": ("egress", "unenforced", ["hub"], "unenforced"),
}


@pytest.mark.parametrize(("facet", "left", "right", "expected"), JOINS.values(), ids=JOINS)
def test_a_join_is(facet: str, left: Any, right: Any, expected: Any) -> None:
    one, two, both = (a_policy(ATLAS, **{facet: value}).facet(facet) for value in (left, right, expected))
    assert joined(facet, one, two, ATLAS) == both


def test_a_scheme_that_the_atlas_does_not_know_any_more_is_asked_for_as_it_was_written() -> None:
    gone = an_atlas(certifications={})
    low, left = (a_policy(ATLAS, certifications={"split": level}).certifications for level in ("low", "left"))
    assert joined("certifications", low, low, gone) == low
    assert joined("certifications", low, left, gone) == frozenset()
