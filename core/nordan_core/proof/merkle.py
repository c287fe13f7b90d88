"""The audit log's Merkle tree: appending, roots, and proofs that leave no room for a rewritten past.

Hashes and proofs are those of RFC 9162, section 2.1. The sealer appends and the api proves, both over *complete*
nodes that the store keeps: node (level, index) covers the leaves from index * 2**level, 2**level of them, so
level 0 holds the leaf hashes. A complete node never changes. Verifiers need none of them. A leaf's data is a
salted commitment (see `leaf`); this module neither knows nor cares.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nordan_core.proof.errors import TreeError

NodeAt = Callable[[int, int], bytes]
"""Reads the hash of the complete node (level, index); may raise what it likes for one that is absent."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Node:
    """A complete node to be stored."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append adds: nodes to store, in an order that has children first, and the tree's new head."""

    nodes: tuple[Node, ...]
    size: int
    root: bytes


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's data."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(size: int, leaves: Sequence[bytes], node_at: NodeAt) -> Appended:
    """Append leaves' data to a tree of `size` leaves; reads only the nodes that `frontier(size)` names."""
    fresh: dict[tuple[int, int], bytes] = {}

    def known(level: int, index: int) -> bytes:
        found = fresh.get((level, index))
        return node_at(level, index) if found is None else found

    for position, data in enumerate(leaves, start=size):
        level, index, digest = 0, position, leaf_hash(data)
        fresh[level, index] = digest
        while index % 2 == 1:
            digest = node_hash(known(level, index - 1), digest)
            level, index = level + 1, index // 2
            fresh[level, index] = digest
    new_size = size + len(leaves)
    nodes = tuple(Node(level, index, digest) for (level, index), digest in fresh.items())
    return Appended(nodes, new_size, root(new_size, known))


class Growing:
    """A tree that is only ever appended to and asked for its root; holds one hash for each level, whatever its size."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, data: bytes) -> None:
        """Append a leaf's data."""
        digest, place = leaf_hash(data), self.size
        while place % 2 == 1:
            digest, place = node_hash(self._peaks.pop(), digest), place // 2
        self._peaks.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash."""
        if not self._peaks:
            return EMPTY_ROOT
        *peaks, digest = self._peaks
        while peaks:
            digest = node_hash(peaks.pop(), digest)
        return digest


def frontier(size: int) -> tuple[tuple[int, int], ...]:
    """Name the complete nodes, left to right, that a tree of this size is made of: all that `append` reads."""
    found: list[tuple[int, int]] = []
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return tuple(found)


def root(size: int, node_at: NodeAt) -> bytes:
    """Return the root hash of the first `size` leaves.

    Raises:
        TreeError: a negative size.
    """
    if size < 0:
        raise TreeError(f"a tree of {size} leaves cannot be")
    return _hash_of(0, size, node_at) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node_at: NodeAt) -> tuple[bytes, ...]:
    """Return the hashes, leaf to root, that lead from leaf `index` to the root of the first `size` leaves.

    Raises:
        TreeError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise TreeError(f"a tree of {size} leaves has no leaf {index}")
    proof: list[bytes] = []
    start, width = 0, size
    while width > 1:
        left = _left_width(width)
        if index - start < left:
            proof.append(_hash_of(start + left, width - left, node_at))
            width = left
        else:
            proof.append(_hash_of(start, left, node_at))
            start, width = start + left, width - left
    return tuple(reversed(proof))


def consistency_proof(old: int, new: int, node_at: NodeAt) -> tuple[bytes, ...]:
    """Return the hashes which show that the first `old` leaves are the same in both trees; none when old is 0.

    Raises:
        TreeError: sizes that are negative or fall.
    """
    if not 0 <= old <= new:
        raise TreeError(f"a tree cannot have grown from {old} to {new} leaves")
    proof: list[bytes] = []
    start, width = 0, new
    while start + width != old and old > 0:
        left = _left_width(width)
        if old - start <= left:
            proof.append(_hash_of(start + left, width - left, node_at))
            width = left
        else:
            proof.append(_hash_of(start, left, node_at))
            start, width = start + left, width - left
    if start > 0:
        proof.append(_hash_of(start, width, node_at))
    return tuple(reversed(proof))


def inclusion_nodes(index: int, size: int) -> tuple[tuple[int, int], ...]:
    """Name the complete nodes that `inclusion_proof` reads, so that a store can fetch them at once."""
    named: list[tuple[int, int]] = []
    inclusion_proof(index, size, _recorder(named))
    return tuple(named)


def consistency_nodes(old: int, new: int) -> tuple[tuple[int, int], ...]:
    """Name the complete nodes that `consistency_proof` reads, so that a store can fetch them at once."""
    named: list[tuple[int, int]] = []
    consistency_proof(old, new, _recorder(named))
    return tuple(named)


def verify_inclusion(data: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Tell whether the proof places a leaf with this data at `index` under the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, digest = index, size - 1, leaf_hash(data)
    for sibling in proof:
        if last == 0:
            return False
        if here % 2 == 1 or here == last:
            digest = node_hash(sibling, digest)
            while here % 2 == 0 and here != 0:
                here, last = here >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and digest == root_hash


def verify_consistency(old: int, new: int, proof: Sequence[bytes], *, old_root: bytes, new_root: bytes) -> bool:
    """Tell whether the proof shows the older tree to be a prefix of the newer (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        return not proof and (old_root == new_root if old == new else old_root == EMPTY_ROOT)
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    here, last = old - 1, new - 1
    while here % 2 == 1:
        here, last = here >> 1, last >> 1
    old_digest = new_digest = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if here % 2 == 1 or here == last:
            old_digest = node_hash(sibling, old_digest)
            new_digest = node_hash(sibling, new_digest)
            while here % 2 == 0 and here != 0:
                here, last = here >> 1, last >> 1
        else:
            new_digest = node_hash(new_digest, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and old_digest == old_root and new_digest == new_root


def _left_width(width: int) -> int:
    """Return the largest power of two below `width`: where the RFC splits a tree."""
    return 1 << (width - 1).bit_length() - 1


def _hash_of(start: int, width: int, node_at: NodeAt) -> bytes:
    """Return the hash over `width` leaves from `start`, from the fewest complete nodes.

    `start` is a multiple of the power of two at or above `width`, as every split of the RFC leaves it.
    """
    peaks = [node_at(level, (start >> level) + index) for level, index in frontier(width)]
    digest = peaks.pop()
    while peaks:
        digest = node_hash(peaks.pop(), digest)
    return digest


def _recorder(named: list[tuple[int, int]]) -> NodeAt:
    def note(level: int, index: int) -> bytes:
        named.append((level, index))
        return b""

    return note
