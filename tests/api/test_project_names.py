"""A project's name means one of the caller's own organisation, whatever other tenants call theirs."""

from __future__ import annotations

import pytest

from support.command_line import Nordan
from support.lab import JOBS, Lab, job


@pytest.fixture
def rival(lab: Lab) -> str:
    """Return the key of an owner elsewhere who has a project named as the administrator's."""
    lab.admin("POST", "/v1/organisations", {"name": "rival"}, expect=201)
    key = lab.key("rival", "owner")
    lab.call("POST", "/v1/projects", {"name": "default"}, key=key, expect=201)
    return key


def test_a_strangers_choice_of_name_does_not_take_the_administrators_project_away(
    lab: Lab, rival: str, nordan: Nordan
) -> None:
    """Each works in the project of their own."""
    lab.admin("POST", JOBS, job(name="ours"), expect=202)
    lab.call("POST", JOBS, job(name="theirs"), key=rival, expect=202)
    assert [one["name"] for one in lab.admin("GET", JOBS, expect=200).json()["items"]] == ["ours"]
    assert [one["name"] for one in lab.call("GET", JOBS, key=rival, expect=200).json()["items"]] == ["theirs"]
    assert nordan("submit", "--", "echo", "hello").code == 0
    listed = nordan("list")
    assert (listed.code, "ours" in listed.out, "theirs" in listed.out) == (0, True, False)


@pytest.mark.usefixtures("rival")
def test_an_administrator_names_a_strangers_project_by_its_id(lab: Lab) -> None:
    """Which the list of projects shows."""
    found = lab.admin("GET", "/v1/projects", expect=200).json()["items"]
    [theirs] = [one["id"] for one in found if one["organisation"] == "rival"]
    assert lab.admin("GET", f"/v1/projects/{theirs}", expect=200).json()["organisation"] == "rival"


def test_a_name_that_only_strangers_have_is_a_conflict_once_two_have_it(lab: Lab, nordan: Nordan, rival: str) -> None:
    """With what to give instead; to a tenant there is still no such project but its own."""
    lab.call("POST", "/v1/projects", {"name": "trials"}, key=rival, expect=201)
    assert lab.admin("GET", "/v1/projects/trials", expect=200).json()["organisation"] == "rival"
    lab.admin("POST", "/v1/organisations", {"name": "third"}, expect=201)
    third = lab.key("third", "owner")
    lab.call("POST", "/v1/projects", {"name": "trials"}, key=third, expect=201)
    problem = lab.admin("GET", "/v1/projects/trials", expect=409).json()
    assert (problem["code"], "give its id" in problem["detail"]) == ("project_ambiguous", True)
    for theirs in ("rival", "third"):
        assert theirs not in problem["detail"]
    assert "give its id" in nordan("list", "--project", "trials").err
    assert "prj_" in nordan("admin", "projects", "list").out
    assert lab.call("GET", "/v1/projects/trials", key=third, expect=200).json()["organisation"] == "third"
