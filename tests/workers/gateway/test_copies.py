"""A gateway fetches a copy from another one: whole, under its digests, from where the control plane says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.identifiers import new_id
from nordan_core.wire import CopySource, ManifestMessage
from nordan_workers.gateway.access import Doorkeeper
from support.gateways import GatewayUnderTest, gateway_under_test

FILES = {"a.csv": b"1,2,3\n" * 1000, "deep/b ü.bin": b"\x00" * (5 << 20)}


@pytest.fixture
def other(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    folder = tmp_path / "other"
    folder.mkdir()
    with gateway_under_test(folder) as gateway:
        yield gateway


def held(gateway: GatewayUnderTest, files: dict[str, bytes]) -> Manifest:
    """Put files into a gateway's store and return their manifest."""
    entries = []
    for path, data in files.items():
        blob = gateway.store.put([data])
        entries.append(FileEntry(path, blob.digest, blob.size_bytes))
    manifest = Manifest.of(entries)
    gateway.store.put_manifest(manifest)
    return manifest


def allowed(gateway: GatewayUnderTest, other: GatewayUnderTest, manifest: Manifest) -> str:
    """Let the control plane say that this manifest may be fetched from the other gateway; return the upload."""
    upload = new_id("upl")
    digest = manifest.digest
    token = other.token(f"manifest:{digest}")["Authorization"].removeprefix("Bearer ")
    url = f"{other.url}/v1/manifests/{digest}"
    gateway.api.sources[upload] = CopySource(url=url, token=token, manifest=ManifestMessage.of(manifest))
    return upload


def pull(gateway: GatewayUnderTest, upload: str) -> list[dict[str, Any]]:
    headers = gateway.token(f"upload:{upload}", "put")
    answer = gateway.http.post(f"/v1/uploads/{upload}:pull", headers=headers)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_every_file_arrives_and_is_committed(gateway: GatewayUnderTest, other: GatewayUnderTest) -> None:
    manifest = held(other, FILES)
    upload = allowed(gateway, other, manifest)
    lines = pull(gateway, upload)
    assert lines[-1]["digest"] == manifest.digest
    assert lines[-2]["fetched_bytes"] == lines[-2]["size_bytes"] == manifest.size_bytes
    assert gateway.store.manifest(manifest.digest) == manifest
    for entry in manifest.files:
        assert hashlib.sha256(gateway.store.path(entry.digest).read_bytes()).hexdigest() == entry.digest
    assert gateway.api.commits[-1].upload_id == upload


def test_what_is_here_is_not_fetched_again(gateway: GatewayUnderTest, other: GatewayUnderTest) -> None:
    manifest = held(other, FILES)
    gateway.store.put([FILES["a.csv"]])
    other.store.path(hashlib.sha256(FILES["a.csv"]).hexdigest()).unlink()
    assert "artifact_id" in pull(gateway, allowed(gateway, other, manifest))[-1]


def test_bytes_with_another_digest_are_not_kept(gateway: GatewayUnderTest, other: GatewayUnderTest) -> None:
    manifest = held(other, {"a.csv": b"honest"})
    other.store.path(manifest.files[0].digest).chmod(0o600)
    other.store.path(manifest.files[0].digest).write_bytes(b"forged")
    upload = allowed(gateway, other, manifest)
    assert pull(gateway, upload)[-1]["problem"]["code"] == "digest_mismatch"
    assert not gateway.store.has(manifest.files[0].digest)
    assert list((gateway.folder / "store" / "incoming").iterdir()) == []
    assert upload not in [one.upload_id for one in gateway.api.commits]


def test_a_source_that_is_away_is_told_and_leaves_nothing(gateway: GatewayUnderTest, other: GatewayUnderTest) -> None:
    manifest = held(other, {"a.csv": b"1"})
    upload = allowed(gateway, other, manifest)
    told = gateway.api.sources[upload]
    gateway.api.sources[upload] = told.model_copy(update={"url": "http://127.0.0.1:1/v1/manifests/x"})
    assert pull(gateway, upload)[-1]["problem"]["code"] == "source_away"
    gateway.api.sources[upload] = told.model_copy(update={"token": "forged"})
    assert pull(gateway, upload)[-1]["problem"]["code"] == "source_refused"
    gateway.api.sources[upload] = told
    assert "artifact_id" in pull(gateway, upload)[-1], "asked again, it goes on"


def test_a_client_needs_leave_and_cannot_name_a_source(gateway: GatewayUnderTest) -> None:
    upload = new_id("upl")
    path = f"/v1/uploads/{upload}:pull"
    assert gateway.http.post(path).status_code == 401
    assert gateway.http.post(path, headers=gateway.token(f"upload:{upload}", "read")).status_code == 403
    unknown = gateway.http.post(path, headers=gateway.token(f"upload:{upload}", "put"), json={"url": "http://x"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_a_copy_that_may_not_come_any_more_breaks_off(
    gateway: GatewayUnderTest, other: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two files as within one: nothing of the file under way is kept."""
    manifest = held(other, {"unlike.csv": b"4,5,6\n" * 1000, "others.csv": b"7,8,9\n" * 1000})
    upload = allowed(gateway, other, manifest)
    first = iter([False])
    monkeypatch.setattr(Doorkeeper, "is_fenced", lambda _, claims: claims.act == "put" and next(first, True))
    assert pull(gateway, upload)[-1]["problem"]["code"] == "fenced"
    monkeypatch.undo()
    assert list((gateway.folder / "store" / "incoming").iterdir()) == []
    assert upload not in [one.upload_id for one in gateway.api.commits]
    assert "artifact_id" in pull(gateway, upload)[-1]
