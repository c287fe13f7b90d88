"""Errands: each key once at a time, again when called meanwhile, again after a failure, whatever one of them does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nordan_core.clock import SystemClock
from nordan_workers.executors.kubernetes.client import ClusterUnreachable
from nordan_workers.executors.kubernetes.hands import Hands
from support.attempts import until


@pytest.fixture
def hands() -> Iterator[Hands]:
    made = Hands(4, SystemClock().monotonic)
    yield made
    made.close(2.0)


def test_an_errand_is_done(hands: Hands) -> None:
    done = threading.Event()
    hands.call("a", done.set)
    assert done.wait(15.0)


def test_a_call_during_an_errand_is_heard_after_it_and_never_beside_it(hands: Hands) -> None:
    entered, go_on = threading.Event(), threading.Event()
    inside: list[int] = []
    most: list[int] = []

    def errand() -> None:
        inside.append(1)
        most.append(len(inside))
        entered.set()
        go_on.wait(15.0)
        inside.pop()

    hands.call("a", errand)
    assert entered.wait(15.0)
    for _ in range(5):
        hands.call("a", errand)
    go_on.set()
    until(lambda: len(most) == 2 and not inside, "two rounds")
    assert most == [1, 1]


def test_different_keys_are_worked_on_together(hands: Hands) -> None:
    both = threading.Barrier(2, timeout=15.0)
    done: list[int] = []

    def errand() -> None:
        both.wait()
        done.append(1)

    hands.call("a", errand)
    hands.call("b", errand)
    until(lambda: len(done) == 2, "both met")


def test_an_errand_that_fails_is_done_again(hands: Hands) -> None:
    tries: list[int] = []

    def errand() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ClusterUnreachable("away")

    hands.call("a", errand)
    until(lambda: len(tries) == 3, "the third try")


def test_an_errand_may_ask_to_be_called_again(hands: Hands) -> None:
    tries: list[int] = []

    def errand() -> float | None:
        tries.append(1)
        return 0.05 if len(tries) < 3 else None

    hands.call("a", errand)
    until(lambda: len(tries) == 3, "the third call")


def test_a_defect_in_one_errand_does_not_stop_the_others(hands: Hands) -> None:
    done = threading.Event()

    def errand() -> None:
        raise RuntimeError("a defect")

    for key in "abcdefgh":
        hands.call(key, errand)
    hands.call("good", done.set)
    assert done.wait(15.0)


def test_nothing_is_begun_after_the_close() -> None:
    hands = Hands(1, SystemClock().monotonic)
    hands.close(2.0)
    done = threading.Event()
    hands.call("a", done.set)
    assert not done.wait(0.1)
