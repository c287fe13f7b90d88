"""The sealer changes its key: at one place in the log, told by the old key, and seen by whoever replays the log."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pytest

from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from nordan_core.proof.dsse import signer_of
from nordan_core.proof.export import head_line
from nordan_core.proof.keys import KeyRing, PublicKey, SigningKey, trusted
from nordan_core.proof.replay import Replay, Terms, replay
from nordan_core.proof.rotation import Held
from nordan_core.proof.succession import Purpose, Succession, sign_succession
from nordan_core.signing import chain_of
from nordan_core.store.audit import Act, AuditEntry
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.sealer import INTERVAL_S, KEYLESS_S, Sealer
from support.cell import Cell, lead
from support.exports import ATLASES, export_of

FIRST, SECOND, THIRD, STRANGER = (SigningKey.create() for _ in range(4))


@dataclass
class Log:
    """A log and its sealer, which finds other key files whenever a test says so."""

    cell: Cell
    held: Held

    def __post_init__(self) -> None:
        self.epoch = lead(self.cell.store)
        self.sealer = self.another()

    def another(self) -> Sealer:
        """Return a sealer that has just been started."""
        certifier = Certifier(self.cell.store, FactsCache(AtlasShelf()))
        return Sealer(self.cell.store, self.cell.clock, lambda: self.held, certifier=certifier, metrics=Metrics())

    def act(self, count: int = 1) -> float:
        """Let something happen, seal it, and return how long the sealer rests."""
        with self.cell.store.begin() as work:
            for _ in range(count):
                work.audit.write(AuditEntry(Act.KEY_CREATED, "key", "somebody", self.cell.clock.now()))
        return self.sealer.step(self.epoch)

    def signers(self) -> list[tuple[int, str]]:
        """Return size and signer of each head."""
        names = {key.public.key_id: name for key, name in NAMES}
        with self.cell.store.begin() as work:
            return [(one.size, names[signer_of(one.envelope)]) for one in work.ledger.heads(0, 100)]

    def export(self) -> bytes:
        """Return the whole log's export."""
        return export_of(self.cell.store)

    def ring(self) -> KeyRing:
        """Return the chain that the log holds, as a reader of the server's keys has it."""
        with self.cell.store.begin() as work:
            return chain_of(work, Purpose.CERTIFICATE).ring()


NAMES = ((FIRST, "first"), (SECOND, "second"), (THIRD, "third"), (STRANGER, "stranger"))


def replayed(export: bytes, *keys: PublicKey, ring: KeyRing | None = None) -> Replay:
    return replay(io.BytesIO(export), Terms(ring or trusted(*keys), ATLASES))


@pytest.fixture
def log(cell: Cell) -> Log:
    """Return a log of three entries and a change of key, with two more under the second key."""
    log = Log(cell, Held(FIRST))
    log.act(3)
    log.held = Held(FIRST, SECOND)
    log.act(2)
    return log


def test_the_entry_that_introduces_a_key_is_the_first_under_its_own_head(log: Log) -> None:
    assert log.signers() == [(3, "first"), (4, "second"), (6, "second")]
    assert log.cell.rows("select leaf_index from audit_entry where act = 'signing_key_changed'") == [(3,)]


def test_the_log_verifies_from_the_first_key_alone_through_every_change(log: Log) -> None:
    log.held = Held(SECOND)
    log.act()
    log.held = Held(SECOND, THIRD)
    log.act()
    assert [name for _, name in log.signers()] == ["first", "second", "second", "second", "third", "third"]
    found = replayed(log.export(), FIRST.public)
    assert (found.faults, found.heads, found.entries) == ([], 6, 9)
    assert found.ok


def test_a_key_is_introduced_once_however_often_a_sealer_starts(log: Log) -> None:
    for _ in range(3):
        log.sealer = log.another()
        assert log.act() == INTERVAL_S
    assert log.cell.rows("select count(*) from audit_entry where act = 'signing_key_changed'") == [(1,)]


def test_the_log_keeps_its_name(log: Log) -> None:
    with log.cell.store.begin() as work:
        heads = work.ledger.heads(0, 100)
    ring = log.ring()
    assert {verify_checkpoint(one.envelope, ring).origin for one in heads} == {f"log:{FIRST.public.key_id[:16]}"}


def test_a_reader_who_knows_another_key_only_is_told_which_one_is_not_trusted(log: Log) -> None:
    found = replayed(log.export(), STRANGER.public)
    assert not found.ok
    assert any(
        f"signed by the key {FIRST.public.key_id[:12]}…, which is not trusted here" in one for one in found.faults
    )


def test_whoever_starts_with_the_second_key_does_not_take_its_forerunners_word(log: Log) -> None:
    assert not replayed(log.export(), SECOND.public).ok


WITHOUT_A_SAY: dict[str, Held] = {
    "the old key after its retirement": Held(FIRST),
    "a key that nobody introduced": Held(STRANGER),
    "a retired key that wants to come back": Held(SECOND, FIRST),
}


@pytest.mark.parametrize("held", list(WITHOUT_A_SAY.values())[:2], ids=list(WITHOUT_A_SAY)[:2])
def test_a_sealer_without_the_logs_key_signs_nothing(log: Log, held: Held) -> None:
    before = log.signers()
    log.held = held
    assert log.act() == KEYLESS_S
    assert log.signers() == before
    log.held = Held(SECOND)
    assert log.act() == INTERVAL_S
    assert replayed(log.export(), FIRST.public).ok


def test_a_retired_key_does_not_come_back(log: Log) -> None:
    log.held = WITHOUT_A_SAY["a retired key that wants to come back"]
    log.act()
    assert log.signers()[-1] == (7, "second")


def test_a_log_without_changes_goes_on_under_the_key_of_its_newest_head_only(cell: Cell) -> None:
    log = Log(cell, Held(FIRST))
    log.act()
    log.held = Held(STRANGER)
    assert log.act() == KEYLESS_S
    assert log.signers() == [(1, "first")]


def test_a_lost_key_is_followed_by_one_that_its_readers_have_to_come_to_trust(log: Log) -> None:
    log.held = Held(THIRD, replaces=SECOND.public)
    assert log.act() == INTERVAL_S
    assert log.signers()[-2:] == [(7, "third"), (8, "third")]
    found = replayed(log.export(), FIRST.public)
    assert any("not trusted here" in one for one in found.faults)
    assert replayed(log.export(), FIRST.public, THIRD.public).ok


def _head(log: Log, key: SigningKey) -> bytes:
    """Return the newest head's line as another key would sign it."""
    with log.cell.store.begin() as work:
        head = work.ledger.head()
    assert head is not None
    signed = verify_checkpoint(head.envelope, log.ring())
    return head_line(sign_checkpoint(Checkpoint(signed.origin, signed.size, signed.root, signed.at), key))


def _swap_last(export: bytes, line: bytes) -> bytes:
    return b"".join(export.splitlines(keepends=True)[:-1]) + line


def _without(export: bytes, act: str) -> bytes:
    return b"".join(one for one in export.splitlines(keepends=True) if act.encode() not in one)


def _statement_by(log: Log, export: bytes, key: SigningKey) -> bytes:
    lines = [json.loads(one) for one in export.splitlines()]
    for one in lines:
        if one.get("entry", {}).get("act") == "signing_key_changed":
            statement = one["entry"]["body"]["statement"]
            statement["signatures"] = sign_checkpoint(Checkpoint("x", 1, bytes(32), log.cell.clock.now()), key)[
                "signatures"
            ]
    return b"".join(json.dumps(one, sort_keys=True, separators=(",", ":")).encode() + b"\n" for one in lines)


FORGED: dict[str, tuple[Callable[[Log, bytes], bytes], str]] = {
    "the retired key signs the newest head": (
        lambda log, export: _swap_last(export, _head(log, FIRST)),
        "was retired when the log had 3 entries; it cannot sign one of 6",
    ),
    "a foreign key signs the newest head": (
        lambda log, export: _swap_last(export, _head(log, STRANGER)),
        f"signed by the key {STRANGER.public.key_id[:12]}…, which is not trusted here",
    ),
    "the introduction is taken out": (
        lambda log, export: _without(export, "signing_key_changed"),
        f"signed by the key {SECOND.public.key_id[:12]}…, which is not trusted here",
    ),
    "the statement is signed by a stranger": (
        lambda log, export: _statement_by(log, export, STRANGER),
        "which is not trusted here",
    ),
    "the end is cut off": (lambda log, export: b"".join(export.splitlines(keepends=True)[:-1]), "cut off"),
    "the last line is cut in the middle": (lambda log, export: export[:-20], "cut off in the middle"),
}


@pytest.mark.parametrize(("forge", "why"), FORGED.values(), ids=FORGED)
def test_a_forged_log_is_refused_with_the_reason(log: Log, forge: Callable[[Log, bytes], bytes], why: str) -> None:
    found = replayed(forge(log, log.export()), FIRST.public)
    assert not found.ok
    assert any(why in one for one in found.faults), found.faults


def test_a_reader_with_the_servers_keys_sees_what_the_retired_key_signs(log: Log) -> None:
    forged = _swap_last(log.export(), _head(log, FIRST))
    assert replayed(log.export(), ring=log.ring()).ok
    assert any("was retired" in one for one in replayed(forged, ring=log.ring()).faults)


def _statement(purpose: Purpose, size: int, at: datetime) -> dict[str, object]:
    return {"statement": sign_succession(Succession(purpose, FIRST.public, SECOND.public, at, at, size), FIRST)}


MISPLACED: dict[str, tuple[Callable[[datetime], dict[str, object]], str]] = {
    "no statement": (lambda at: {}, "holds the statement"),
    "signed for another place": (
        lambda at: _statement(Purpose.CERTIFICATE, 9, at),
        "was signed for entry 9, and stands here as 2",
    ),
    "about another key": (lambda at: _statement(Purpose.GRANT, 2, at), "about the grant key"),
}


@pytest.mark.parametrize(("body", "why"), MISPLACED.values(), ids=MISPLACED)
def test_an_entry_that_introduces_nobody_here_is_refused(
    cell: Cell, body: Callable[[datetime], dict[str, object]], why: str
) -> None:
    log = Log(cell, Held(FIRST))
    log.act(2)
    now = cell.clock.now()
    with cell.store.begin() as work:
        work.audit.write(
            AuditEntry(Act.SIGNING_KEY_CHANGED, "signing_key:certificate", "operator", now, None, body(now))
        )
    log.sealer.seal(log.epoch)
    assert any(why in one for one in replayed(log.export(), FIRST.public).faults)
