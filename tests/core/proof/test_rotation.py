"""Key files while a key changes: nothing is overwritten before its successor is known, nobody else can read any."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from nordan_core.proof.errors import KeyFileExists, KeyUnusable, ProofError
from nordan_core.proof.keys import PublicKey, SigningKey, create_files
from nordan_core.proof.rotation import KeyFiles, begin, finish, main, read_held, replace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_files(tmp_path / "grant.key")
    return tmp_path / "grant.key"


def test_the_next_key_lies_beside_the_first_until_it_takes_its_place(path: Path) -> None:
    first = read_held(path).current.public
    made = begin(path)
    held = read_held(path)
    assert held.next is not None
    assert (held.current.public, held.next.public) == (first, made)
    assert finish(path, {made.key_id}) == made
    held = read_held(path)
    assert (held.current.public, held.next) == (made, None)
    assert PublicKey.load(path.with_name("grant.key.pub")) == made
    assert sorted(one.name for one in path.parent.iterdir()) == ["grant.key", "grant.key.pub"]


def test_private_keys_are_their_owners_alone(path: Path) -> None:
    begin(path)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir() if one.suffix != ".pub"}
    assert modes == {"grant.key": 0o600, "grant.key.next": 0o600}


def test_a_key_that_nobody_introduced_takes_no_place(path: Path) -> None:
    before = path.read_bytes()
    begin(path)
    with pytest.raises(ProofError, match="not introduced yet"):
        finish(path, {read_held(path).current.public.key_id})
    assert path.read_bytes() == before


def test_two_changes_at_once_are_refused(path: Path) -> None:
    begin(path)
    before = path.with_name("grant.key.next").read_bytes()
    with pytest.raises(KeyFileExists, match="finish it first"):
        begin(path)
    assert path.with_name("grant.key.next").read_bytes() == before


def test_a_change_that_was_broken_off_half_way_begins_again(path: Path) -> None:
    path.with_name("grant.key.next.pub").write_text("half")
    path.with_name("grant.key.next.part").write_text("half")
    made = begin(path)
    assert PublicKey.load(path.with_name("grant.key.next.pub")) == made


def test_a_lost_key_is_replaced_and_its_place_is_remembered(path: Path) -> None:
    lost = read_held(path).current.public
    begin(path)
    path.unlink()
    made = replace(path, lost)
    held = read_held(path)
    assert (held.current.public, held.next, held.replaces) == (made, None, lost)
    made = begin(path)
    finish(path, {made.key_id})
    assert read_held(path).replaces is None


def test_only_the_key_that_is_named_is_replaced(path: Path) -> None:
    with pytest.raises(KeyUnusable, match="another key"):
        replace(path, SigningKey.create().public)


def test_files_are_read_again_when_they_change(path: Path) -> None:
    files = KeyFiles(path)
    first = files.held()
    assert files.held() is first
    made = begin(path)
    following = files.held().next
    assert following is not None
    assert following.public == made


def test_the_command_prints_the_new_keys_id_or_says_why_not(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["begin", str(path)]) == 0
    made = PublicKey.load(path.with_name("grant.key.next.pub"))
    assert capsys.readouterr().out == f"{made.key_id}\n"
    keys = path.with_name("keys.json")
    keys.write_text(json.dumps({"grant_keys": {}, "certificate_keys": {}}))
    assert main(["finish", str(path), "--keys", str(keys)]) == 1
    assert "not introduced yet" in capsys.readouterr().err
    keys.write_text(json.dumps({"grant_keys": {made.key_id: ""}, "certificate_keys": {}}))
    assert main(["finish", str(path), "--keys", str(keys)]) == 0
    public = path.with_name("grant.key.pub")
    assert main(["replace", str(path), "--lost", str(public)]) == 0
    assert read_held(path).replaces == made
