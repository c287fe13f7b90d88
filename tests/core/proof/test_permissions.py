"""Leave as the log tells of it: approved by two others as it stands, not taken back, used as often as was said."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from nordan_core.proof.export import EntryLine
from nordan_core.proof.permissions import Permissions
from support.derogations import a_derogation
from support.residency import NOW

ONE = a_derogation(max_uses=2)


def entry(act: str, actor: str, at: datetime = NOW, **body: object) -> EntryLine:
    said = {"id": "aud_x", "act": act, "subject": ONE.id, "actor": actor, "at": at.isoformat(), "organisation": "o"}
    return EntryLine(0, 0, bytes(16), 2, {**said, "body": {"digest": ONE.digest, **body}})


def grant(attempt: str, act: str = "grant_issued") -> EntryLine:
    return entry(act, "scheduler", attempt=attempt)


GONE = EntryLine(
    *(0, 0, bytes(16), 2),
    {
        "id": "aud_y",
        "act": "key_revoked",
        "subject": "key_c",
        "actor": "key_a",
        "organisation": "o",
        "at": NOW.isoformat(),
        "body": {},
    },
)
ASKED = entry("derogation_requested", "key_a")
APPROVED = [entry("derogation_approved", "key_b"), entry("derogation_approved", "key_c")]
WITHDRAWN = entry("derogation_withdrawn", "key_c", approved_by="key_c")


def told(*entries: EntryLine) -> Permissions:
    found = Permissions()
    for one in entries:
        found.note(one)
    return found


@pytest.mark.parametrize("entries", [[ASKED, *APPROVED], [*APPROVED, ASKED]], ids=["in order", "the other way round"])
def test_two_others_approved_it(entries: list[EntryLine]) -> None:
    assert list(told(*entries).faults(grant("att_1"), ONE, NOW)) == []


REFUSED: dict[str, tuple[list[EntryLine], str]] = {
    "nobody asked": (APPROVED, "nobody asking"),
    "another text was asked for": ([entry("derogation_requested", "key_a", digest="x"), *APPROVED], "nobody asking"),
    "one approved": ([ASKED, APPROVED[0]], "which 1 others approved"),
    "one approved twice": ([ASKED, APPROVED[0], APPROVED[0]], "which 1 others approved"),
    "who asked approved": ([ASKED, APPROVED[0], entry("derogation_approved", "key_a")], "which 1 others approved"),
    "another text was approved": (
        [ASKED, APPROVED[0], entry("derogation_approved", "key_c", digest="x")],
        "which 1 others approved",
    ),
    "approved later": (
        [ASKED, APPROVED[0], entry("derogation_approved", "key_c", NOW + timedelta(minutes=1))],
        "before it was approved",
    ),
    "an approver's key was revoked before": (
        [
            ASKED,
            *APPROVED,
            EntryLine(0, 0, bytes(16), 2, {**GONE.entry, "at": (NOW - timedelta(minutes=1)).isoformat()}),
        ],
        "which 1 others approved",
    ),
    "an approver took their word back": ([ASKED, *APPROVED, WITHDRAWN], "which 1 others approved"),
    "an approver took their word back by another key": (
        [ASKED, *APPROVED, entry("derogation_withdrawn", "key_d", approved_by="key_c")],
        "which 1 others approved",
    ),
    "taken back before": (
        [ASKED, *APPROVED, entry("derogation_revoked", "key_c", NOW - timedelta(minutes=1))],
        "was revoked",
    ),
}


@pytest.mark.parametrize(("entries", "why"), REFUSED.values(), ids=REFUSED)
def test_leave_that_was_not_given(entries: list[EntryLine], why: str) -> None:
    [fault] = told(*entries).faults(grant("att_1"), ONE, NOW)
    assert why in fault


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "the other way round"])
def test_a_word_that_was_taken_back_and_given_again_counts(turned: bool) -> None:
    before, after = NOW - timedelta(minutes=2), NOW - timedelta(minutes=1)
    words = [
        entry("derogation_approved", "key_c", before),
        entry("derogation_withdrawn", "key_c", after, approved_by="key_c"),
        entry("derogation_approved", "key_c", NOW),
    ]
    found = told(ASKED, APPROVED[0], *(reversed(words) if turned else words))
    assert list(found.faults(grant("att_1"), ONE, NOW)) == []
    [fault] = found.faults(grant("att_1"), ONE, after)
    assert "before it was approved" in fault


def test_what_happened_before_a_key_was_revoked_stands() -> None:
    later = EntryLine(0, 0, bytes(16), 2, {**GONE.entry, "at": (NOW + timedelta(minutes=1)).isoformat()})
    assert list(told(ASKED, *APPROVED, later).faults(grant("att_1"), ONE, NOW)) == []


def test_uses_are_counted_by_attempt() -> None:
    found = told(ASKED, *APPROVED)
    taken = [grant("att_1"), grant("att_1", "grant_redeemed"), grant("att_2"), entry("read_allowed", "key_d")]
    assert [fault for line in taken for fault in found.faults(line, ONE, NOW)] == []
    [fault] = found.faults(grant("att_3", "grant_redeemed"), ONE, NOW)
    assert "all of whose 2 uses" in fault
