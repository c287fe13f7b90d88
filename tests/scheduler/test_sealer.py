from __future__ import annotations

from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_core.proof.checkpoint import verify_checkpoint
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.leaf import commitment
from nordan_core.proof.merkle import inclusion_nodes, inclusion_proof, verify_inclusion
from nordan_core.proof.rotation import Held
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.sealer import BROKEN_S, INTERVAL_S, Sealer
from support.cell import Cell, lead

KEY = SigningKey.create()
HELD = Held(KEY)


def a_sealer(cell: Cell) -> Sealer:
    certifier = Certifier(cell.store, FactsCache(AtlasShelf()))
    return Sealer(cell.store, cell.clock, lambda: HELD, certifier=certifier, metrics=Metrics())


def _write(work: UnitOfWork, cell: Cell, subject: str) -> None:
    work.audit.write(AuditEntry(Act.KEY_CREATED, subject, "key", cell.clock.now(), None, {"n": 1}))


def _act(cell: Cell, *subjects: str) -> None:
    with cell.store.begin() as work:
        for subject in subjects:
            _write(work, cell, subject)


def test_every_entry_gets_a_leaf_whose_proof_holds_under_the_signed_head(cell: Cell) -> None:
    sealer, epoch = a_sealer(cell), lead(cell.store)
    for batch in (["a"], ["b", "c", "d"], ["e", "f"]):
        _act(cell, *batch)
        assert sealer.seal(epoch) == len(batch)
    with cell.store.begin() as work:
        head, entries = work.ledger.head(), work.ledger.page(0, 10)
        assert head is not None
        nodes = work.ledger.nodes([named for leaf in range(6) for named in inclusion_nodes(leaf, 6)])
    signed = verify_checkpoint(head.envelope, trusted(KEY.public))
    assert (signed.size, signed.root) == (6, head.root)
    assert [entry.leaf_index for entry in entries] == list(range(6))
    for leaf, entry in enumerate(entries):
        proof = inclusion_proof(leaf, 6, lambda *at: nodes[at])
        assert verify_inclusion(commitment(entry.salt, entry.document()), leaf, 6, proof, signed.root)


def test_nothing_to_seal_writes_no_checkpoint(cell: Cell) -> None:
    sealer, epoch = a_sealer(cell), lead(cell.store)
    assert sealer.seal(epoch) == 0
    assert cell.rows("select count(*) from audit_checkpoint") == [(0,)]


def test_an_entry_that_commits_late_is_sealed_by_a_later_batch(cell: Cell) -> None:
    sealer, epoch = a_sealer(cell), lead(cell.store)
    with cell.store.begin() as late:
        _write(late, cell, "late")
        _act(cell, "early")
        assert sealer.seal(epoch) == 1
    assert sealer.seal(epoch) == 1
    assert cell.rows("select subject, leaf_index from audit_entry order by leaf_index") == [("early", 0), ("late", 1)]


def test_nothing_is_sealed_on_top_of_a_tree_that_was_changed(cell: Cell) -> None:
    sealer, epoch = a_sealer(cell), lead(cell.store)
    _act(cell, "a", "b")
    sealer.seal(epoch)
    cell.run("update merkle_node set hash = decode(repeat('00', 32), 'hex') where level = 1")
    _act(cell, "c")
    assert sealer.step(epoch) == BROKEN_S
    assert cell.rows("select count(*) from audit_entry where leaf_index is null") == [(1,)]


def test_an_idle_sealer_rests(cell: Cell) -> None:
    assert a_sealer(cell).step(lead(cell.store)) == INTERVAL_S
