"""The audit log's tree, against published vectors, an independent implementation and itself."""

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from nordan_core.proof.errors import TreeError
from nordan_core.proof.merkle import (
    EMPTY_ROOT,
    Appended,
    Growing,
    append,
    consistency_nodes,
    consistency_proof,
    frontier,
    inclusion_nodes,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 130

# Inputs and roots of the reference tests of certificate-transparency (RFC 6962, the same hashing).
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
VECTOR_INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
VECTOR_CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class Log:
    """A tree whose nodes lie in a dictionary, as the store keeps them in a table."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.root = EMPTY_ROOT

    def append(self, leaves: list[bytes]) -> Appended:
        added = append(self.size, leaves, self.node_at)
        for node in added.nodes:
            assert (node.level, node.index) not in self.nodes, "a complete node never changes"
            self.nodes[node.level, node.index] = node.hash
        self.size, self.root = added.size, added.root
        return added

    def node_at(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def data_of(index: int) -> bytes:
    return b"leaf %d" % index


def log_of(leaves: list[bytes]) -> Log:
    log = Log()
    log.append(leaves)
    return log


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


@cache
def full_log() -> Log:
    return log_of([data_of(index) for index in range(LARGEST)])


@cache
def roots() -> list[bytes]:
    return [root(size, full_log().node_at) for size in range(LARGEST + 1)]


def test_the_published_roots() -> None:
    log = log_of(VECTOR_LEAVES)
    assert [root(size, log.node_at).hex() for size in range(1, 9)] == VECTOR_ROOTS


def test_the_published_inclusion_proofs() -> None:
    log = log_of(VECTOR_LEAVES)
    for (index, size), proof in VECTOR_INCLUSION.items():
        assert [item.hex() for item in inclusion_proof(index, size, log.node_at)] == proof
        assert verify_inclusion(
            VECTOR_LEAVES[index], index, size, [bytes.fromhex(p) for p in proof], bytes.fromhex(VECTOR_ROOTS[size - 1])
        )


def test_the_published_consistency_proofs() -> None:
    log = log_of(VECTOR_LEAVES)
    for (old, new), proof in VECTOR_CONSISTENCY.items():
        assert [item.hex() for item in consistency_proof(old, new, log.node_at)] == proof


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert root(0, Log().node_at) == hashlib.sha256(b"").digest() == naive_root([])


def test_every_root_is_the_one_that_the_rfc_defines() -> None:
    leaves = [data_of(index) for index in range(LARGEST)]
    assert roots() == [naive_root(leaves[:size]) for size in range(LARGEST + 1)]


def test_an_independent_implementation_agrees() -> None:
    oracle = InmemoryTree(algorithm="sha256")
    for index in range(LARGEST):
        assert oracle.append_entry(data_of(index)) == index + 1
    for size in range(1, LARGEST + 1):
        assert oracle.get_root(size) == roots()[size]
        for index in range(0, size, 7):
            path = oracle.prove_inclusion(index + 1, size).path
            assert tuple(path[1:]) == inclusion_proof(index, size, full_log().node_at)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_the_tree_does_not_depend_on_how_appends_are_batched(batches: list[int]) -> None:
    log = Log()
    for width in batches:
        log.append([data_of(log.size + offset) for offset in range(width)])
    at_once = log_of([data_of(index) for index in range(sum(batches))])
    assert (log.root, log.nodes) == (at_once.root, at_once.nodes)


def test_a_tree_that_keeps_a_hash_a_level_has_the_same_roots() -> None:
    growing = Growing()
    for size in range(LARGEST):
        assert growing.root() == roots()[size]
        growing.add(data_of(size))
    assert (growing.root(), growing.size) == (roots()[LARGEST], LARGEST)


@given(st.integers(0, LARGEST), st.integers(0, 20))
def test_an_append_reads_the_frontier_and_nothing_else(size: int, width: int) -> None:
    read: set[tuple[int, int]] = set()

    def node_at(level: int, index: int) -> bytes:
        read.add((level, index))
        return full_log().nodes[level, index]

    append(size, [data_of(size + offset) for offset in range(width)], node_at)
    assert read <= set(frontier(size))


def test_every_leaf_is_proved_in_every_tree_and_under_no_other_root_place_or_data() -> None:
    node_at = full_log().node_at
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, node_at)
            assert verify_inclusion(data_of(index), index, size, proof, roots()[size])
            assert not verify_inclusion(data_of(index), index, size, proof, roots()[size - 1])
            assert not verify_inclusion(data_of(index + 1), index, size, proof, roots()[size])
            assert not verify_inclusion(data_of(index), index, size, (*proof, EMPTY_ROOT), roots()[size])
            assert size == 1 or not verify_inclusion(data_of(index), index, size, proof[:-1], roots()[size])
            other = (index + 1) % size
            assert other == index or not verify_inclusion(data_of(index), other, size, proof, roots()[size])


def test_every_tree_is_proved_to_be_a_prefix_of_every_later_one() -> None:
    node_at, head = full_log().node_at, roots()
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = consistency_proof(old, new, node_at)
            assert verify_consistency(old, new, proof, old_root=head[old], new_root=head[new])
            if 0 < old < new:
                assert not verify_consistency(old, new, proof, old_root=head[old - 1], new_root=head[new])
                assert not verify_consistency(old, new, proof, old_root=head[old], new_root=head[old])
                assert not verify_consistency(old, new, proof[:-1], old_root=head[old], new_root=head[new])
                assert not verify_consistency(old, new, (*proof, EMPTY_ROOT), old_root=head[old], new_root=head[new])


@given(st.integers(2, LARGEST), st.data())
def test_a_rewritten_past_has_no_consistency_proof(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    forged = log_of([data_of(index) if index != changed else b"rewritten" for index in range(new)])
    proof = consistency_proof(old, new, forged.node_at)
    assert not verify_consistency(old, new, proof, old_root=roots()[old], new_root=forged.root)


@given(st.integers(1, LARGEST), st.data())
def test_the_named_nodes_are_enough_for_a_proof(size: int, data: st.DataObject) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    few = {place: full_log().nodes[place] for place in inclusion_nodes(index, size)}
    inclusion_proof(index, size, lambda level, at: few[level, at])
    few = {place: full_log().nodes[place] for place in consistency_nodes(old, size)}
    consistency_proof(old, size, lambda level, at: few[level, at])


def test_a_leaf_cannot_be_passed_off_as_an_inner_node() -> None:
    log = log_of([b"a", b"b"])
    assert leaf_hash(leaf_hash(b"a") + leaf_hash(b"b")) != log.root


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 3), (5, 3)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(TreeError):
        inclusion_proof(index, size, full_log().node_at)
    assert not verify_inclusion(b"", index, size, (), EMPTY_ROOT)


@pytest.mark.parametrize(("old", "new"), [(3, 2), (-1, 2)])
def test_a_tree_does_not_shrink(old: int, new: int) -> None:
    with pytest.raises(TreeError):
        consistency_proof(old, new, full_log().node_at)
    assert not verify_consistency(old, new, (), old_root=EMPTY_ROOT, new_root=EMPTY_ROOT)


def test_a_negative_size_has_no_root() -> None:
    with pytest.raises(TreeError):
        root(-1, full_log().node_at)
