"""Ranges of users, and who gets which."""

from __future__ import annotations

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.base import LaunchFailed
from nordan_workers.executors.uids import UidAllocator, UidRange

A, B, C, D = (AttemptId(f"att_{letter}") for letter in "abcd")


def test_a_range_is_two_numbers() -> None:
    assert UidRange.parse("200000-200999") == UidRange(200_000, 200_999)


@pytest.mark.parametrize(
    "text", ["", "200000", "200999-200000", "0-10", "999-2000", "a-b", "1000-", "-5", "200000-200010-1", "²000-3000"]
)
def test_anything_else_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(OperatorError, match="NORDAN_UID_RANGE"):
        UidRange.parse(text)


def test_an_attempt_keeps_its_uid() -> None:
    allocator = UidAllocator(UidRange(2000, 2002))
    assert allocator.take(A) == allocator.take(A)


def test_a_freed_uid_comes_last() -> None:
    allocator = UidAllocator(UidRange(2000, 2002))
    first = allocator.take(A)
    allocator.give_back(A)
    assert [allocator.take(one) for one in (B, C, D)] == [2001, 2002, first]


def test_a_full_range_refuses() -> None:
    allocator = UidAllocator(UidRange(2000, 2001))
    allocator.take(A)
    allocator.take(B)
    with pytest.raises(LaunchFailed, match="all 2 user ids"):
        allocator.take(C)


def test_a_restart_keeps_what_is_held_and_what_files_still_carry() -> None:
    allocator = UidAllocator(UidRange(2000, 2003))
    allocator.restore({A: 2001}, orphaned={2002, 77})
    assert allocator.take(A) == 2001
    assert [allocator.take(one) for one in (B, C)] == [2003, 2000]
    with pytest.raises(LaunchFailed):
        allocator.take(D)


def test_giving_back_what_nobody_holds_changes_nothing() -> None:
    UidAllocator(UidRange(2000, 2003)).give_back(A)
