"""The audit log of a running stack, built anew from its entries and held against every checkpoint that was signed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nordan_core.proof.checkpoint import verify_checkpoint
from nordan_core.proof.keys import PublicKey, trusted
from nordan_core.proof.leaf import commitment, entry_document
from nordan_core.proof.merkle import EMPTY_ROOT, append
from support.chaos_stack import ChaosStack

_ENTRIES = """
    select id, act, subject, organisation_id, actor, at, body, salt, leaf_index
    from audit_entry where leaf_index is not null order by leaf_index
"""
_CHECKPOINTS = "select size, root, envelope from audit_checkpoint order by size"
_NODES = "select level, index, hash from merkle_node"


def log_faults(stack: ChaosStack) -> Iterator[str]:
    """Return what is wrong with the log, a sentence each."""
    rows = stack.rows(_ENTRIES)
    if [row[-1] for row in rows] != list(range(len(rows))):
        yield "the log has a gap"
    yield from _tree_faults(stack, [_leaf(row) for row in rows])


def _leaf(columns: tuple[Any, ...]) -> bytes:  # Any: columns
    name, act, subject, organisation, actor, at, body, salt, _ = columns
    entry = entry_document(
        entry_id=name, act=act, subject=subject, actor=actor, at=at, organisation=organisation, body=body
    )
    return commitment(bytes(salt), entry)


def _tree_faults(stack: ChaosStack, leaves: Sequence[bytes]) -> Iterator[str]:
    keys = trusted(PublicKey.load(stack.data / "control" / "keys" / "certificate.key.pub"))
    nodes: dict[tuple[int, int], bytes] = {}
    size, root = 0, EMPTY_ROOT
    for signed_size, signed_root, envelope in stack.rows(_CHECKPOINTS):
        grown = append(size, leaves[size:signed_size], lambda level, index: nodes[level, index])
        nodes.update(((node.level, node.index), node.hash) for node in grown.nodes)
        size, root = grown.size, grown.root
        signed = verify_checkpoint(envelope, keys)
        if not (signed.size, signed.root) == (signed_size, bytes(signed_root)) == (size, root):
            yield f"the checkpoint over {signed_size} entries does not fit the log"
    if size != len(leaves):
        yield f"{len(leaves)} entries are sealed, but the newest checkpoint covers {size}"
    stored = {(level, index): bytes(found) for level, index, found in stack.rows(_NODES)}
    if stored != nodes:
        yield f"{len(stored.items() ^ nodes.items())} nodes of the tree are not what the entries give"
