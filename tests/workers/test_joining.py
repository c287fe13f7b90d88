"""The join file is read by its owner alone, and errors never quote it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.proof.keys import SigningKey
from nordan_workers.joining import read_join_file

KEY = SigningKey.create().public
BUNDLE = {
    "api_url": "http://127.0.0.1:1/",
    "region": "fr-bru-1",
    "credential": "secret",
    "broker_url": "redis://u:secret@127.0.0.1:2/0",
    "grant_keys": {KEY.key_id: KEY.pem()},
    "newer": "field",
}


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "join.json"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_bundle_is_read_also_with_newer_fields(tmp_path: Path) -> None:
    joined = read_join_file(written(tmp_path, json.dumps(BUNDLE)))
    assert (joined.region, joined.api_url, joined.audience) == ("fr-bru-1", "http://127.0.0.1:1", "gateway:fr-bru-1")
    assert joined.keys == {KEY.key_id: KEY}


def test_secrets_are_not_in_its_representation(tmp_path: Path) -> None:
    assert "secret" not in repr(read_join_file(written(tmp_path, json.dumps(BUNDLE))))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="chmod 600"):
        read_join_file(written(tmp_path, json.dumps(BUNDLE), 0o640))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of root's and of other groups: needs root")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "is_read"),
    [
        pytest.param(0, 65532, 0o440, True, id="as a Secret is mounted for a pod's group"),
        pytest.param(0, 65532, 0o640, True, id="root may write it"),
        pytest.param(0, 100, 0o440, False, id="for a group that is not ours"),
        pytest.param(0, 65532, 0o460, False, id="our group may write it"),
        pytest.param(0, 65532, 0o444, False, id="everybody may read it"),
        pytest.param(65532, 65532, 0o440, False, id="our own, and open to our group"),
    ],
)
def test_a_group_may_read_only_what_root_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, is_read: bool
) -> None:
    path = written(tmp_path, json.dumps(BUNDLE), mode)
    os.chown(path, owner, group)
    monkeypatch.setattr(os, "geteuid", lambda: 65532)
    monkeypatch.setattr(os, "getegid", lambda: 65532)
    monkeypatch.setattr(os, "getgroups", list)
    if is_read:
        assert read_join_file(path).region == "fr-bru-1"
    else:
        with pytest.raises(OperatorError, match="others can read"):
            read_join_file(path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"credential": "secret"}', json.dumps({**BUNDLE, "grant_keys": {"k": "secret"}})]
)
def test_a_file_that_is_no_bundle_is_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(OperatorError) as caught:
        read_join_file(written(tmp_path, text))
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"join\.json"):
        read_join_file(tmp_path / "join.json")
