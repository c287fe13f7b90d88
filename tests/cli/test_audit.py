"""The audit log from outside: compared with a head that was kept, exported, and verified with no server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint
from nordan_core.proof.growth import growth_document
from nordan_core.proof.keys import SigningKey
from nordan_core.proof.merkle import append, consistency_proof, root
from support.certificates import CERTIFICATE_KEY
from support.command_line import Nordan
from support.fake_rest import FakeRest

KEYS = {"grant_keys": {}, "certificate_keys": {CERTIFICATE_KEY.public.key_id: CERTIFICATE_KEY.public.pem()}}
CONSISTENCY = "GET /v1/audit/consistency"
LEAVES = [b"leaf %d" % index for index in range(9)]


class Log:
    """A log of some leaves, and its heads."""

    def __init__(self, leaves: list[bytes] = LEAVES) -> None:
        self.nodes = {(one.level, one.index): one.hash for one in append(0, leaves, lambda *_: b"").nodes}

    def head(self, size: int, key: SigningKey = CERTIFICATE_KEY) -> dict[str, object]:
        """Return the signed head of so many entries."""
        at = datetime(2026, 11, 21, 12, size, tzinfo=UTC)
        return sign_checkpoint(Checkpoint("log", size, root(size, lambda *place: self.nodes[place]), at), key)

    def growth(self, old: int, new: int) -> dict[str, object]:
        """Return the server's answer about two heads."""
        proof = consistency_proof(old, new, lambda *place: self.nodes[place])
        return growth_document(self.head(old), self.head(new), proof)


@pytest.fixture
def kept(rest: FakeRest, tmp_path: Path) -> tuple[str, str]:
    """A head of three entries and the keys, in files; the server knows the same keys."""
    rest.on("GET /v1/keys", KEYS)
    head, keys = tmp_path / "head.json", tmp_path / "keys.json"
    head.write_text(json.dumps({"size": 3, "envelope": Log().head(3)}))
    keys.write_text(json.dumps(KEYS))
    return str(head), str(keys)


def test_a_log_that_only_grew_passes_and_its_proof_is_kept(
    nordan: Nordan, rest: FakeRest, kept: tuple[str, str], tmp_path: Path
) -> None:
    rest.on(CONSISTENCY, Log().growth(3, 9))
    head, keys = kept
    ended = nordan("admin", "audit", "compare", head, "--keys", keys, "--out", str(tmp_path / "growth.json"))
    assert ended.code == 0, ended.err
    assert "of 9 entries begins with the 3" in ended.out
    assert rest.sent(CONSISTENCY)[0].url.params["old"] == "3"
    assert json.loads((tmp_path / "growth.json").read_bytes()) == Log().growth(3, 9)


def test_a_rewritten_log_is_told_of(nordan: Nordan, rest: FakeRest, kept: tuple[str, str]) -> None:
    rest.on(CONSISTENCY, Log([b"other", *LEAVES[1:]]).growth(3, 9))
    ended = nordan("admin", "audit", "compare", kept[0], "--keys", kept[1])
    assert ended.code == 1
    assert "not the one that you kept" in ended.err


def test_a_log_that_was_forked_behind_the_kept_head_is_told_of(
    nordan: Nordan, rest: FakeRest, kept: tuple[str, str]
) -> None:
    forged = {**Log().growth(3, 9), "new": Log([b"other", *LEAVES[1:]]).head(9)}
    rest.on(CONSISTENCY, forged)
    ended = nordan("admin", "audit", "compare", kept[0], "--keys", kept[1])
    assert ended.code == 1
    assert "rewritten" in ended.err


def test_a_head_by_a_foreign_key_is_wrong_use(nordan: Nordan, kept: tuple[str, str]) -> None:
    Path(kept[0]).write_text(json.dumps(Log().head(3, SigningKey.create())))
    ended = nordan("admin", "audit", "compare", kept[0], "--keys", kept[1])
    assert ended.code == 2
    assert "not trusted" in ended.err


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_a_file_that_is_no_head_is_wrong_use(nordan: Nordan, kept: tuple[str, str], text: str) -> None:
    Path(kept[0]).write_text(text)
    assert nordan("admin", "audit", "compare", kept[0], "--keys", kept[1]).code == 2
