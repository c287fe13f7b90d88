"""A region follows its control plane's keys by statement, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nordan_core.clock import ManualClock
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.succession import Purpose, Statement, Succession, sign_succession
from nordan_workers.trust import Trust

AT = datetime(2026, 11, 1, tzinfo=UTC)
FIRST, SECOND, THIRD = (SigningKey.create() for _ in range(3))
OVERLAP_S = 60.0


def says(old: SigningKey, new: SigningKey, *, by: SigningKey | None = None) -> Statement:
    told = Succession(Purpose.GRANT, old.public, new.public, AT, AT + timedelta(seconds=OVERLAP_S), 0)
    return sign_succession(told, by or old)


def ids(*keys: SigningKey) -> set[str]:
    return {key.public.key_id for key in keys}


def a_trust() -> tuple[Trust, ManualClock]:
    clock = ManualClock(AT)
    return Trust(trusted(FIRST.public), clock), clock


def test_old_and_new_key_hold_for_a_while_and_then_only_the_new_one() -> None:
    trust, clock = a_trust()
    trust.learn([says(FIRST, SECOND)])
    assert set(trust.live()) == ids(FIRST, SECOND)
    clock.advance(OVERLAP_S)
    assert set(trust.live()) == ids(SECOND)


def test_what_was_learned_is_not_forgotten_when_nobody_repeats_it() -> None:
    trust, clock = a_trust()
    trust.learn([says(FIRST, SECOND)])
    trust.learn([])
    clock.advance(OVERLAP_S)
    trust.learn([says(SECOND, THIRD)])
    assert set(trust.live()) == ids(THIRD)


def test_an_impostor_who_speaks_for_the_control_plane_is_not_believed() -> None:
    trust, _ = a_trust()
    trust.learn([says(FIRST, SECOND, by=SECOND)])
    trust.learn([says(SECOND, THIRD)])
    assert set(trust.live()) == ids(FIRST)


def test_a_second_successor_is_refused_and_the_first_one_stays() -> None:
    trust, _ = a_trust()
    trust.learn([says(FIRST, SECOND)])
    trust.learn([says(FIRST, THIRD)])
    assert set(trust.live()) == ids(FIRST, SECOND)
