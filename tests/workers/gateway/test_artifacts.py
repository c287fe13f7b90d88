"""Files go out by manifest and path, in ranges, with a digest as their tag."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from support.gateways import GatewayUnderTest

DATA = bytes(range(256)) * 2000


@pytest.fixture(scope="module")
def manifest(gateway: GatewayUnderTest) -> Manifest:
    data, empty = gateway.store.put([DATA]), gateway.store.put([])
    names = ["model.bin", "a/b c/é #?%.txt"]
    files = [FileEntry(name, data.digest, data.size_bytes) for name in names]
    manifest = Manifest.of([*files, FileEntry("empty", empty.digest, 0)])
    gateway.store.put_manifest(manifest)
    return manifest


def get(gateway: GatewayUnderTest, manifest: Manifest, path: str, **headers: str):  # type: ignore[no-untyped-def]  # httpx's
    url = f"/v1/manifests/{manifest.digest}/files/{quote(path)}"
    return gateway.http.get(url, headers={**gateway.token(f"manifest:{manifest.digest}"), **headers})


def test_a_manifest_lists_its_files(gateway: GatewayUnderTest, manifest: Manifest) -> None:
    answer = gateway.http.get(f"/v1/manifests/{manifest.digest}", headers=gateway.token(f"manifest:{manifest.digest}"))
    assert [one["path"] for one in answer.json()["files"]] == [one.path for one in manifest.files]
    assert answer.headers["ETag"] == f'"{manifest.digest}"'


@pytest.mark.parametrize("path", ["model.bin", "a/b c/é #?%.txt"])
def test_a_file_comes_with_every_byte(gateway: GatewayUnderTest, manifest: Manifest, path: str) -> None:
    answer = get(gateway, manifest, path)
    assert answer.content == DATA
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Range" not in answer.headers


def test_an_empty_file_comes_empty(gateway: GatewayUnderTest, manifest: Manifest) -> None:
    answer = get(gateway, manifest, "empty")
    assert (answer.status_code, answer.content) == (200, b"")


RANGES = {
    "bytes=0-0": (206, DATA[:1], "bytes 0-0/512000"),
    "bytes=100-199": (206, DATA[100:200], "bytes 100-199/512000"),
    "bytes=511990-": (206, DATA[511990:], "bytes 511990-511999/512000"),
    "bytes=511990-999999": (206, DATA[511990:], "bytes 511990-511999/512000"),
    "bytes=-5": (206, DATA[-5:], "bytes 511995-511999/512000"),
    "bytes=-999999": (206, DATA, "bytes 0-511999/512000"),
    "bytes=512000-": (416, None, "bytes */512000"),
    "bytes=-0": (416, None, "bytes */512000"),
    "bytes=5-4": (200, DATA, None),
    "bytes=0-1,5-6": (200, DATA, None),
    "lines=0-1": (200, DATA, None),
    "bytes=-": (200, DATA, None),
    "bytes=\u0661-": (200, DATA, None),
}


@pytest.mark.parametrize("text", RANGES)
def test_ranges(gateway: GatewayUnderTest, manifest: Manifest, text: str) -> None:
    status, content, content_range = RANGES[text]
    url = f"/v1/manifests/{manifest.digest}/files/model.bin"
    headers = {**gateway.token(f"manifest:{manifest.digest}"), "Range": text.encode()}
    answer = gateway.http.get(url, headers=headers)  # type: ignore[arg-type]  # a header that is not ASCII
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == content_range
    if content is not None:
        assert answer.content == content


def test_a_range_of_an_older_version_gets_the_whole(gateway: GatewayUnderTest, manifest: Manifest) -> None:
    etag = get(gateway, manifest, "model.bin").headers["ETag"]
    assert get(gateway, manifest, "model.bin", Range="bytes=0-0", **{"If-Range": etag}).status_code == 206
    assert get(gateway, manifest, "model.bin", Range="bytes=0-0", **{"If-Range": '"old"'}).status_code == 200


def test_what_the_client_has_is_not_sent_again(gateway: GatewayUnderTest, manifest: Manifest) -> None:
    etag = get(gateway, manifest, "model.bin").headers["ETag"]
    answer = get(gateway, manifest, "model.bin", **{"If-None-Match": f'"x", W/{etag}'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_head_tells_the_size_without_the_bytes(gateway: GatewayUnderTest, manifest: Manifest) -> None:
    url = f"/v1/manifests/{manifest.digest}/files/model.bin"
    answer = gateway.http.head(url, headers=gateway.token(f"manifest:{manifest.digest}"))
    assert (answer.status_code, answer.headers["Content-Length"], answer.content) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    "path", ["nothing", "../../../../../../etc/passwd", "..%2f..%2fjoin.json", "%2fetc/passwd", "model.bin%00", "a//b"]
)
def test_only_what_the_manifest_names_can_be_read(gateway: GatewayUnderTest, manifest: Manifest, path: str) -> None:
    url = f"{gateway.url}/v1/manifests/{manifest.digest}/files/"
    headers = gateway.token(f"manifest:{manifest.digest}")
    request = gateway.http.build_request("GET", url, headers=headers)
    request.url = request.url.copy_with(raw_path=(f"/v1/manifests/{manifest.digest}/files/" + path).encode())
    answer = gateway.http.send(request)
    assert answer.status_code == 404


def test_a_manifest_or_blob_that_is_not_here_is_not_found(gateway: GatewayUnderTest) -> None:
    headers = gateway.token("manifest:" + "0" * 64)
    assert gateway.http.get("/v1/manifests/" + "0" * 64, headers=headers).status_code == 404
    blob = gateway.store.put([b"to be lost"])
    digest = gateway.store.put_manifest(Manifest.of([FileEntry("a", blob.digest, blob.size_bytes)]))
    gateway.store.path(blob.digest).unlink()
    answer = gateway.http.get(f"/v1/manifests/{digest}/files/a", headers=gateway.token(f"manifest:{digest}"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
