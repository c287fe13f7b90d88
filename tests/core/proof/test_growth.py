"""Two heads of one log, and the proof between them; every other pair is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint
from nordan_core.proof.errors import ProofError
from nordan_core.proof.growth import growth_document, growth_faults, growth_of, read_growth
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.merkle import append, consistency_proof, root

KEY = SigningKey.create()
KEYS = trusted(KEY.public)
START = datetime(2026, 11, 21, tzinfo=UTC)
Nodes = dict[tuple[int, int], bytes]
LEAVES = [b"leaf %d" % index for index in range(70)]


def nodes_of(leaves: list[bytes]) -> Nodes:
    return {(node.level, node.index): node.hash for node in append(0, leaves, lambda *_: b"").nodes}


def head(nodes: Nodes, size: int, *, origin: str = "log:1", at_s: int | None = None) -> dict[str, object]:
    at = START + timedelta(seconds=size if at_s is None else at_s)
    return sign_checkpoint(Checkpoint(origin, size, root(size, lambda *at: nodes[at]), at), KEY)


def proof_of(nodes: Nodes, old: int, new: int) -> tuple[bytes, ...]:
    return consistency_proof(old, new, lambda *at: nodes[at])


@given(st.integers(1, 70), st.integers(1, 70))
def test_a_grown_log_passes_in_one_direction_only(one: int, two: int) -> None:
    nodes, (old, new) = nodes_of(LEAVES), sorted((one, two))
    document = growth_document(head(nodes, old), head(nodes, new), proof_of(nodes, old, new))
    assert list(growth_faults(read_growth(canonical_json(document) + b"\n", KEYS))) == []
    turned = {**document, "old": document["new"], "new": document["old"]}
    assert bool(list(growth_faults(growth_of(turned, KEYS)))) == (old != new)


@given(st.integers(1, 69), st.integers(1, 70), st.data())
def test_a_rewritten_past_is_seen(old: int, grown: int, data: st.DataObject) -> None:
    new = min(70, old + grown)
    changed = data.draw(st.integers(0, old - 1))
    nodes = nodes_of(LEAVES)
    forged = nodes_of([leaf if index != changed else b"rewritten" for index, leaf in enumerate(LEAVES)])
    document = growth_document(head(nodes, old), head(forged, new), proof_of(forged, old, new))
    [fault] = growth_faults(growth_of(document, KEYS))
    assert "rewritten" in fault


def test_heads_of_two_logs_are_no_growth() -> None:
    nodes = nodes_of(LEAVES)
    document = growth_document(head(nodes, 3), head(nodes, 5, origin="log:2"), proof_of(nodes, 3, 5))
    assert "two logs" in " ".join(growth_faults(growth_of(document, KEYS)))


def test_a_larger_log_that_was_signed_earlier_is_no_growth() -> None:
    nodes = nodes_of(LEAVES)
    document = growth_document(head(nodes, 3), head(nodes, 5, at_s=1), proof_of(nodes, 3, 5))
    assert "after that of" in " ".join(growth_faults(growth_of(document, KEYS)))


def _good() -> dict[str, object]:
    nodes = nodes_of(LEAVES)
    return growth_document(head(nodes, 3), head(nodes, 5), proof_of(nodes, 3, 5))


BROKEN: dict[str, Callable[[], object]] = {
    "a list": list,
    "a field too many": lambda: {**_good(), "more": 1},
    "a head that is no envelope": lambda: {**_good(), "old": 5},
    "a head by a foreign key": lambda: {
        **_good(),
        "old": sign_checkpoint(Checkpoint("log:1", 0, bytes(32), START), SigningKey.create()),
    },
    "a proof that is no list": lambda: {**_good(), "proof": "ab"},
    "a hash that is not hex": lambda: {**_good(), "proof": ["zz"]},
    "a hash that is too short": lambda: {**_good(), "proof": ["ab"]},
    "an endless proof": lambda: {**_good(), "proof": ["00" * 32] * 129},
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_proof_is_refused(case: str) -> None:
    with pytest.raises(ProofError):
        growth_of(BROKEN[case](), KEYS)


@pytest.mark.parametrize("text", [b"", b"{", b'{"old": 1}', b"[" * 100_000, b"\xff"])
def test_bytes_that_are_no_canonical_json_are_refused(text: bytes) -> None:
    with pytest.raises(ProofError):
        read_growth(text, KEYS)
