"""`nordan admin atlas`: whose an atlas is, and what another one would change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.proof.keys import create_files
from support.command_line import Nordan


@pytest.fixture
def own(tmp_path: Path) -> Path:
    document = json.loads(default_atlas_bytes()) | {"version": "ours-2026-12"}
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    create_files(tmp_path / "key")
    return path


def test_the_packaged_atlas_verifies_without_a_server(nordan: Nordan) -> None:
    done = nordan("admin", "atlas", "verify")
    assert done.code == 0
    assert done.out == f"{default_atlas().version} {default_atlas().digest}, signed by a release of Nordan\n"


def test_ones_own_atlas_is_signed_and_verifies_for_whoever_trusts_the_key(nordan: Nordan, own: Path) -> None:
    assert nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key"))).code == 0
    trusting = ("--trust", str(own.with_name("key.pub")))
    done = nordan("admin", "atlas", "verify", str(own), *trusting)
    assert (done.code, done.out[:13]) == (0, "ours-2026-12 ")
    stranger = nordan("admin", "atlas", "verify", str(own))
    assert (stranger.code, "not trusted here" in stranger.err) == (1, True)
    own.write_bytes(own.read_bytes().replace(b"Andorra", b"andorra"))
    changed = nordan("admin", "atlas", "verify", str(own), *trusting)
    assert (changed.code, "does not fit" in changed.err) == (1, True)


def test_what_is_no_atlas_is_not_signed(nordan: Nordan, own: Path) -> None:
    own.write_text("{}", encoding="utf-8")
    done = nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key")))
    assert (done.code, "nordan-atlas/1" in done.err) == (2, True)
    assert not own.with_name("ours.json.sig").exists()


def test_an_atlas_without_a_signature_is_wrong_use(nordan: Nordan, own: Path) -> None:
    done = nordan("admin", "atlas", "verify", str(own))
    assert (done.code, "cannot read" in done.err) == (2, True)
