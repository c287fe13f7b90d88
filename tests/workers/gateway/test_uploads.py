"""Bytes come in whole under the digest that was announced, and a commit may name only its own upload's bytes."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.identifiers import new_id
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.uploads import GATHER_BYTES
from nordan_workers.store.region_store import BlobWriter
from support.attempts import until
from support.gateways import MAX_UPLOAD_BYTES, GatewayUnderTest

DATA = b"rows and rows\n" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def one_file(path: str, digest: str = DIGEST, size_bytes: int = 1) -> str:
    return json.dumps({"files": [{"path": path, "digest": digest, "size_bytes": size_bytes}]})


class Upload:
    """One upload as a client sees it."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.gateway = gateway
        self.id = new_id("upl")
        self.headers = gateway.token(f"upload:{self.id}", "put")

    def put(self, data: bytes, digest: str | None = None) -> tuple[int, str]:
        name = digest if digest is not None else hashlib.sha256(data).hexdigest()
        answer = self.gateway.http.put(f"/v1/blobs/{name}", content=data, headers=self.headers)
        return answer.status_code, answer.json().get("code", "")

    def commit(self, *files: tuple[str, bytes]) -> tuple[int, dict[str, object]]:
        rows = [
            {"path": path, "digest": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for path, data in files
        ]
        return self.commit_text(json.dumps({"files": rows}))

    def commit_text(self, text: str) -> tuple[int, dict[str, object]]:
        answer = self.gateway.http.post(f"/v1/uploads/{self.id}:commit", content=text, headers=self.headers)
        return answer.status_code, answer.json()


@pytest.fixture
def upload(gateway: GatewayUnderTest) -> Upload:
    return Upload(gateway)


def incoming(gateway: GatewayUnderTest) -> list[Path]:
    return list((gateway.folder / "store" / "incoming").iterdir())


def test_bytes_and_a_commit_make_an_artifact(gateway: GatewayUnderTest, upload: Upload) -> None:
    assert upload.put(DATA) == (201, "")
    status, body = upload.commit(("train.py", DATA), ("copy/train.py", DATA))
    assert status == 201
    commit = gateway.api.commits[-1]
    assert commit.upload_id == upload.id
    assert [one.path for one in commit.manifest.files] == ["train.py", "copy/train.py"]
    assert body["digest"] == commit.manifest.to_domain().digest
    assert gateway.store.manifest(str(body["digest"])) == commit.manifest.to_domain()


def test_everything_may_be_sent_twice(upload: Upload) -> None:
    assert upload.put(DATA) == upload.put(DATA) == (201, "")
    first, second = upload.commit(("a", DATA)), upload.commit(("a", DATA))
    assert first[0] == second[0] == 201


def test_other_bytes_than_announced_are_not_kept(gateway: GatewayUnderTest, upload: Upload) -> None:
    digest = hashlib.sha256(b"announced").hexdigest()
    assert upload.put(b"sent", digest) == (422, "digest_mismatch")
    assert not gateway.store.has(digest)
    assert incoming(gateway) == []


def test_a_name_that_is_no_digest_is_refused(upload: Upload) -> None:
    assert upload.put(DATA, DIGEST.upper()) == (422, "bad_digest")
    assert upload.put(DATA, "..%2F..%2Fx")[0] in {404, 422}


@pytest.mark.parametrize("announces", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused_and_not_kept(
    gateway: GatewayUnderTest, upload: Upload, announces: bool
) -> None:
    data = bytes(MAX_UPLOAD_BYTES + 1)
    name = hashlib.sha256(data).hexdigest()
    content = data if announces else iter([data])
    answer = gateway.http.put(f"/v1/blobs/{name}", content=content, headers=upload.headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not gateway.store.has(name)
    assert incoming(gateway) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(gateway: GatewayUnderTest, upload: Upload) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        token = upload.headers["Authorization"]
        head = f"PUT /v1/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 9999\r\n\r\n"
        client.sendall(head.encode() + b"half")
        until(lambda: len(incoming(gateway)) == 1, "the upload has begun")
    until(lambda: incoming(gateway) == [], "nothing is left")


def test_a_commit_may_not_name_what_another_upload_sent(gateway: GatewayUnderTest, upload: Upload) -> None:
    secret = b"another tenant's rows"
    assert Upload(gateway).put(secret) == (201, "")
    status, body = upload.commit(("mine", secret))
    assert (status, body["code"]) == (409, "blobs_missing")
    assert body["errors"] == [{"field": "files.0.digest", "message": "not sent"}]


def test_a_size_that_is_not_the_bytes_is_refused(upload: Upload) -> None:
    upload.put(DATA)
    status, body = upload.commit_text(one_file("a"))
    assert (status, body["code"]) == (422, "size_mismatch")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"files": [], "files": []}',
        '{"files": [], "more": 1}',
        one_file(path="../a"),
        one_file(path="/a"),
        one_file(path="a", size_bytes=-1),
        one_file(path="a", digest="x"),
        "[" * 100_000,
    ],
)
def test_a_manifest_that_is_not_well_formed_is_refused(upload: Upload, text: str) -> None:
    status, body = upload.commit_text(text)
    assert (status, body["code"]) == (422, "invalid")


def test_a_token_for_one_upload_is_not_good_for_another(gateway: GatewayUnderTest, upload: Upload) -> None:
    other = Upload(gateway)
    other.headers = upload.headers
    assert other.commit(("a", DATA))[1]["code"] == "wrong_object"


def test_a_token_for_reading_may_not_put(gateway: GatewayUnderTest, upload: Upload) -> None:
    upload.headers = gateway.token(f"upload:{upload.id}", "read")
    assert upload.put(DATA) == (403, "wrong_action")
    upload.headers = gateway.token("manifest:" + DIGEST, "put")
    assert upload.put(DATA) == (403, "wrong_object")


def test_without_the_control_plane_a_commit_may_be_tried_again(gateway: GatewayUnderTest, upload: Upload) -> None:
    upload.put(DATA)
    gateway.api.is_away = True
    status, body = upload.commit(("a", DATA))
    assert (status, body["code"]) == (503, "control_plane_unavailable")
    gateway.api.is_away = False
    assert upload.commit(("a", DATA))[0] == 201


def test_what_may_not_be_put_any_more_is_refused_and_taken_again_when_it_may(
    gateway: GatewayUnderTest, upload: Upload
) -> None:
    assert upload.put(DATA) == (201, "")
    gateway.board.fences([f"upload:{upload.id}"])
    assert upload.put(b"more") == (403, "fenced")
    status, body = upload.commit(("a", DATA))
    assert (status, body["code"]) == (403, "fenced")
    assert body["detail"] == (
        "leave to put this here was taken back: its policy no longer allows it, or the key that it was given to was"
        " revoked or has expired"
    )
    assert Upload(gateway).put(b"of another") == (201, "")
    gateway.board.fences([])
    assert upload.put(b"more") == (201, "")


def test_bytes_on_their_way_are_not_kept_when_they_may_not_be_put_any_more(
    gateway: GatewayUnderTest, upload: Upload
) -> None:
    data = b"on their way\n" * 100
    digest = hashlib.sha256(data).hexdigest()

    def slowly() -> Iterator[bytes]:
        yield data[:100]
        gateway.board.fences([f"upload:{upload.id}"])
        yield data[100:]

    answer = gateway.http.put(f"/v1/blobs/{digest}", content=slowly(), headers=upload.headers)
    gateway.board.fences([])
    assert (answer.status_code, answer.json()["code"]) == (403, "fenced")
    assert not gateway.store.has(digest)
    assert incoming(gateway) == []


def test_of_many_bytes_none_is_written_any_more(
    gateway: GatewayUnderTest, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    answers = iter([False])
    monkeypatch.setattr(Doorkeeper, "is_fenced", lambda *_: next(answers, True))
    monkeypatch.setattr(BlobWriter, "write", lambda _, data: written.append(data))
    assert upload.put(b"x" * (2 * GATHER_BYTES)) == (403, "fenced")
    assert written == []
