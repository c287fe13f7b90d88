"""Renewals by derogation in the log: judged again offline, and found when they are missing or say anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.derogating import Members
from support.exports import export_of, lines, replayed, resigned
from support.lab import CERTIFICATE_KEY, Lab

Json = dict[str, Any]  # Any: JSON


@pytest.fixture(scope="module")
def renewed_by_leave(laboratory: Lab) -> bytes:
    """An export in which the law left a job that ran, and a derogation let it go on."""
    lab = laboratory.fresh()
    floor = {"residency": ["FR"], "class": "internal"}
    lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
    Members.of(lab).grant(facet="evidence", to="E0", max_uses=1)
    job, region, run = lab.running()
    floor["evidence"] = "E4"
    for name in ("default", "another"):
        lab.apply({"kind": "Project", "name": name, "organisation": "home", "floor": floor})
        assert region.sync()["stop"] == []
    lab.clock.advance(100)
    assert region.sync()["stop"] == [], "the same word, so no entry of its own"
    region.end(run)
    assert lab.state(job) == "succeeded"
    lab.seal()
    return export_of(lab.context.store)


def test_a_renewal_by_leave_is_an_act_for_each_new_word(renewed_by_leave: bytes) -> None:
    found = replayed(renewed_by_leave, CERTIFICATE_KEY.public)
    assert found.faults == []
    bodies = [part["entry"]["body"] for part in lines(renewed_by_leave) if _is(part, "grant_renewed")]
    assert [len(one["derogations"]) for one in bodies] == [1, 1]
    assert len({one["epoch"] for one in bodies}) == 2
    [ended] = [part["entry"]["body"] for part in lines(renewed_by_leave) if _is(part, "attempt_ended")]
    assert ended["derogations"] == bodies[0]["derogations"]


def _is(part: Json, act: str) -> bool:
    return "entry" in part and part["entry"]["act"] == act


def _body(act: str, change: Callable[[Json], object]) -> Callable[[Json], None]:
    def apply(entry: Json) -> None:
        if entry["act"] == act:
            change(entry["body"])

    return apply


def _good_for_longer(body: Json) -> None:
    body["verdict"]["good_until"] = "2099-01-01T00:00:00+00:00"


def _wider(entry: Json) -> None:
    if entry["subject"].startswith("policy:") and entry["body"].get("derogations"):
        entry["body"]["derogations"][0]["text"]["to"] = "E3"


def _missing(entry: Json) -> None:
    if entry["act"] == "grant_renewed":
        entry.update(act="cancel_requested", body={})


RENEWED: dict[str, tuple[Callable[[Json], None], str]] = {
    "the renewals are missing": (_missing, "no entry says how it came to that"),
    "no word of the judge": (_body("grant_renewed", lambda body: body.pop("verdict")), "says nothing of that"),
    "refused": (_body("grant_renewed", lambda body: body["verdict"].update(allowed=False)), "had refused it"),
    "relied on for longer": (_body("grant_renewed", _good_for_longer), "relied on it until"),
    "for another job": (_body("job_accepted", lambda body: body.update(policy_digest="00" * 32)), "not accepted under"),
    "leave that was not given": (
        lambda entry: entry.update(act="cancel_requested") if entry["act"] == "derogation_approved" else None,
        "which 0 others approved",
    ),
    "leave for another text": (_wider, "another than its digest"),
}


@pytest.mark.parametrize("case", RENEWED)
def test_a_renewal_that_no_leave_carries_is_found(renewed_by_leave: bytes, case: str) -> None:
    change, told = RENEWED[case]
    found = replayed(resigned(renewed_by_leave, change), CERTIFICATE_KEY.public)
    assert told in " ".join(found.faults), found.faults
