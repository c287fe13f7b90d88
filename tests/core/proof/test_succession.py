"""Who may follow whom: a key is introduced by the one before it, and what a retired one signs later does not hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from nordan_core.proof import succession
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from nordan_core.proof.dsse import sign_envelope
from nordan_core.proof.errors import EnvelopeMalformed, ProofError, SignatureInvalid, TokenForged
from nordan_core.proof.keys import KeyRing, SigningKey, trusted
from nordan_core.proof.succession import (
    PAYLOAD_TYPE,
    Purpose,
    Statement,
    Succession,
    follow,
    read_succession,
    read_unpinned,
    sign_succession,
)
from nordan_core.proof.tokens import RenewalClaims, mint_renewal, read_renewal

AT = datetime(2026, 11, 1, tzinfo=UTC)
FIRST, SECOND, THIRD, STRANGER = (SigningKey.create() for _ in range(4))
LOG = Purpose.CERTIFICATE


def says(old: SigningKey, new: SigningKey, size: int = 10, *, by: SigningKey | None = None) -> Statement:
    told = Succession(LOG, old.public, new.public, AT, AT + timedelta(minutes=5), size)
    return sign_succession(told, by or old)


def head(key: SigningKey, size: int) -> dict[str, object]:
    return sign_checkpoint(Checkpoint("log", size, bytes(32), AT), key)


def renewal(key: SigningKey, at: datetime) -> str:
    return mint_renewal(RenewalClaims("r", "s", "n", at, ()), key)


CHAIN = [says(FIRST, SECOND, 10), says(SECOND, THIRD, 20)]


@pytest.mark.parametrize("statements", [CHAIN, CHAIN[::-1]], ids=["in order", "the other way round"])
def test_a_chain_leads_from_the_first_key_to_the_last(statements: list[Statement]) -> None:
    ring = follow(trusted(FIRST.public), statements, LOG)
    assert set(ring) == {key.public.key_id for key in (FIRST, SECOND, THIRD)}
    assert set(ring.retired) == {key.public.key_id for key in (FIRST, SECOND)}


def test_a_reader_who_knows_all_keys_learns_which_are_retired_in_any_order() -> None:
    known = trusted(FIRST.public, SECOND.public, THIRD.public)
    assert follow(known, CHAIN[::-1], LOG).retired == follow(known, CHAIN, LOG).retired
    assert follow(follow(known, CHAIN, LOG), CHAIN, LOG).retired == follow(known, CHAIN, LOG).retired


UNFOLLOWED: dict[str, list[Statement]] = {
    "a stranger introduces itself": [says(FIRST, STRANGER, by=STRANGER)],
    "a stranger introduces another": [says(STRANGER, SECOND)],
    "the link between is missing": [says(SECOND, THIRD)],
    "a statement of another purpose": [
        sign_succession(Succession(Purpose.GRANT, FIRST.public, SECOND.public, AT, AT, 1), FIRST)
    ],
    "another document by the same key": [dict(head(FIRST, 3))],
}


@pytest.mark.parametrize("statements", UNFOLLOWED.values(), ids=UNFOLLOWED)
def test_what_no_trusted_key_said_leads_nowhere(statements: list[Statement]) -> None:
    ring = follow(trusted(FIRST.public), statements, LOG)
    assert (set(ring), dict(ring.retired)) == ({FIRST.public.key_id}, {})


REFUSED: dict[str, tuple[list[Statement], str]] = {
    "two successors": ([says(FIRST, SECOND), says(FIRST, STRANGER)], "made way for two"),
    "a retired key comes back": ([says(FIRST, SECOND), says(SECOND, FIRST)], "was retired"),
    "a key follows itself": ([says(FIRST, FIRST)], "was retired"),
    "a chain without end": ([says(FIRST, SECOND)] * 1001, "at most 1000"),
}


@pytest.mark.parametrize(("statements", "why"), REFUSED.values(), ids=REFUSED)
def test_a_chain_that_cannot_be_is_refused(statements: list[Statement], why: str) -> None:
    with pytest.raises(ProofError, match=why):
        follow(trusted(FIRST.public), statements, LOG)


def test_a_trusted_key_has_no_say_in_who_follows_another() -> None:
    with pytest.raises(ProofError, match="by no other"):
        read_succession(says(FIRST, SECOND, by=THIRD), trusted(FIRST.public, THIRD.public))


def test_a_key_that_took_a_lost_ones_place_convinces_only_those_who_trust_it_already() -> None:
    statement = says(FIRST, SECOND, by=SECOND)
    assert set(follow(trusted(FIRST.public), [statement], LOG)) == {FIRST.public.key_id}
    ring = follow(trusted(FIRST.public, SECOND.public), [statement], LOG)
    assert set(ring.retired) == {FIRST.public.key_id}


def test_a_retired_key_brings_in_no_key_that_outlives_it() -> None:
    """It could say that it once took a stranger's place, and the stranger sign in its stead."""
    told = Succession(LOG, STRANGER.public, FIRST.public, AT, AT + timedelta(days=3650), 1_000_000)
    forged = sign_succession(told, FIRST)
    for statements in ([says(FIRST, SECOND), forged], [*CHAIN, forged], [forged, *CHAIN]):
        with pytest.raises(ProofError, match="has no say"):
            follow(trusted(FIRST.public), statements, LOG)
    told = Succession(LOG, STRANGER.public, FIRST.public, AT, AT + timedelta(minutes=6), 10)
    later = sign_succession(told, FIRST)
    with pytest.raises(ProofError, match="has no say"):
        follow(trusted(FIRST.public), [*CHAIN, later], LOG)


def test_a_retired_key_may_still_be_known_to_have_taken_a_lost_ones_place() -> None:
    """Whoever hears of it late learns of a key that held no longer than the one that speaks."""
    lost = says(STRANGER, FIRST, 5, by=FIRST)
    ring = follow(trusted(FIRST.public), [*CHAIN, lost], LOG)
    assert ring.retired[STRANGER.public.key_id].size == 5


def test_a_retired_key_signs_no_head_of_a_larger_log() -> None:
    ring = follow(trusted(FIRST.public), CHAIN, LOG)
    assert verify_checkpoint(head(FIRST, 10), ring).size == 10
    assert verify_checkpoint(head(SECOND, 20), ring).size == 20
    with pytest.raises(SignatureInvalid, match="retired when the log had 10 entries; it cannot sign one of 11"):
        verify_checkpoint(head(FIRST, 11), ring)
    with pytest.raises(SignatureInvalid, match="not trusted here"):
        verify_checkpoint(head(STRANGER, 1), ring)


def test_a_key_signs_no_head_without_the_entry_that_introduced_it() -> None:
    ring = follow(trusted(FIRST.public), CHAIN, LOG)
    assert verify_checkpoint(head(SECOND, 11), ring).size == 11
    for key, size in ((SECOND, 10), (SECOND, 1), (THIRD, 20)):
        with pytest.raises(SignatureInvalid, match="was introduced when the log had"):
            verify_checkpoint(head(key, size), ring)


def test_each_statement_is_read_once_however_many_copies_and_strangers_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hostile certificate may bring a thousand of them."""
    calls: list[Statement] = []

    def read(statement: Statement, ring: KeyRing) -> Succession:
        calls.append(statement)
        return read_succession(statement, ring)

    monkeypatch.setattr(succession, "read_succession", read)
    junk = [{**says(FIRST, SECOND, size), "payload": says(FIRST, THIRD, size)["payload"]} for size in range(20)]
    ring = follow(trusted(FIRST.public), [*junk, *[one for one in CHAIN for _ in range(20)]], LOG)
    assert set(ring) == {key.public.key_id for key in (FIRST, SECOND, THIRD)}
    assert len(calls) <= len(junk) + len(CHAIN)


def test_a_retired_key_grants_nothing_after_its_time() -> None:
    ring = follow(trusted(FIRST.public), CHAIN, LOG)
    until = AT + timedelta(minutes=5)
    assert read_renewal(renewal(FIRST, until), keys=ring).issued_at == until
    with pytest.raises(TokenForged, match="retired before it was issued"):
        read_renewal(renewal(FIRST, until + timedelta(seconds=6)), keys=ring)


def test_live_keys_are_those_that_may_still_sign() -> None:
    ring = follow(trusted(FIRST.public), CHAIN[:1], LOG)
    assert set(ring.live(AT)) == set(ring)
    assert set(ring.live(AT + timedelta(minutes=5))) == {SECOND.public.key_id}


def _document(**changes: object) -> dict[str, object]:
    good = {
        "purpose": "grant",
        "old": FIRST.public.pem(),
        "new": SECOND.public.pem(),
        "at": AT.isoformat(),
        "until": AT.isoformat(),
        "size": 1,
    }
    return {**good, **changes}


MALFORMED: dict[str, object] = {
    "a list": [],
    "a field too many": _document(more=1),
    "another purpose": _document(purpose="all"),
    "no key": _document(new="key"),
    "a naive instant": _document(at="2026-11-01T00:00:00"),
    "a size that is true": _document(size=True),
    "a size below nothing": _document(size=-1),
    "an instant that is a number": _document(until=5),
}


@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED)
def test_a_statement_of_another_form_is_malformed(document: object) -> None:
    with pytest.raises(EnvelopeMalformed, match="no statement about a key"):
        read_unpinned(sign_envelope(PAYLOAD_TYPE, canonical_json(document), FIRST))


NAIVE: dict[str, Callable[[], Succession]] = {
    "at": lambda: Succession(LOG, FIRST.public, SECOND.public, AT.replace(tzinfo=None), AT, 1),
    "until": lambda: Succession(LOG, FIRST.public, SECOND.public, AT, AT.replace(tzinfo=None), 1),
}


@pytest.mark.parametrize("made", NAIVE.values(), ids=NAIVE)
def test_a_statement_has_aware_instants(made: Callable[[], Succession]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        sign_succession(made(), FIRST)


def test_a_ring_shows_ids_only() -> None:
    assert repr(KeyRing({FIRST.public.key_id: FIRST.public})) == f"KeyRing(['{FIRST.public.key_id[:12]}'])"
