"""A query that a route does not know is refused, with the parameter at fault."""

from __future__ import annotations

import pytest

from support.lab import JOBS, Lab


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{JOBS}?stat=running", "stat"),
        (f"{JOBS}?limit=5&Limit=5", "Limit"),
        (f"{JOBS}?cursor=next", "cursor"),
        (f"{JOBS}?cursor=prj_00000000000000000000000000", "cursor"),
        ("/v1/projects/default/datasets?cursor=next", "cursor"),
        ("/v1/me?verbose=1", "verbose"),
    ],
)
def test_what_a_route_does_not_know_is_refused(lab: Lab, path: str, field: str) -> None:
    """It would be answered as if it had not been asked."""
    answer = lab.admin("GET", path, expect=422).json()
    assert (answer["code"], [one["field"] for one in answer["errors"]]) == ("invalid", [field])


def test_pages_follow_each_other_by_the_cursor_that_was_given(lab: Lab) -> None:
    """And by no other."""
    jobs = [lab.submit(), lab.submit()]
    first = lab.admin("GET", f"{JOBS}?limit=1", expect=200).json()
    second = lab.admin("GET", f"{JOBS}?limit=1&cursor={first['next_cursor']}", expect=200).json()
    assert {one["id"] for page in (first, second) for one in page["items"]} == set(jobs)
