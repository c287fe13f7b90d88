"""Talk to a region's gateway: where content is. Each address comes from the api with a token of its own.

Called by the commands that put or fetch files and read logs. The API key never comes here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import httpx

from nordan_cli import client
from nordan_cli.decode import decode
from nordan_cli.errors import Failed, Problem
from nordan_cli.invocation import Invocation
from nordan_cli.models import Access, Stored, StoredFile, StoredManifest
from nordan_cli.sse import Event, events
from nordan_core.domain.contents import FileEntry

CHUNK_BYTES = 1024 * 1024
Advance = Callable[[int], None]
"""Called with the number of bytes that went over the wire just now."""


class Gateway:
    """One gateway, for as long as one access token holds."""

    def __init__(self, run: Invocation, access: Access) -> None:
        self._run = run
        self._access = access
        self._base = access.url.split("/v1/", 1)[0].rstrip("/")
        self._http = client.http_client(run, access.url, {"Authorization": f"Bearer {access.token}"})

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def put(self, source: Path, entry: FileEntry, advance: Advance) -> None:
        """Store one file's bytes under their digest; storing them twice changes nothing.

        Raises:
            Failed: the file is no longer what was announced.
        """
        try:
            client.patiently(self._run, lambda: self._put(source, entry, advance))
        except Problem as problem:
            if problem.code == "digest_mismatch":
                raise Failed(f"{source} changed while it was sent; try again") from problem
            raise

    def commit(self, upload_id: str, entries: tuple[FileEntry, ...]) -> Stored:
        """Make one artifact of files that were put."""
        files = [
            {"path": one.path, "digest": one.digest, "size_bytes": one.size_bytes, "mode": one.mode} for one in entries
        ]
        address = f"{self._base}/v1/uploads/{quote(upload_id, safe='')}:commit"
        response = self._send("POST", address, json={"files": files})
        return decode(Stored, response.json())

    def pull(self, upload_id: str, advance: Advance) -> Stored:
        """Have this region fetch a copy's bytes from the one that holds them; returns when they are here.

        Raises:
            Problem: it could not; what was fetched stays, so that asking again goes on from there.
            httpx.TransportError: the connection broke; ask again.
        """
        address = f"{self._base}/v1/uploads/{quote(upload_id, safe='')}:pull"
        done = 0
        with self._http.stream("POST", address) as response:
            client.check(response)
            for line in response.iter_lines():
                told = json.loads(line)
                if "problem" in told:
                    raise Problem(title="The copy failed", **told["problem"])
                if "artifact_id" in told:
                    return decode(Stored, told)
                advance(told["fetched_bytes"] - done)
                done = told["fetched_bytes"]
        raise Failed("the region stopped in the middle of the copy; ask again, it goes on from there")

    def manifest(self, digest: str) -> tuple[StoredFile, ...]:
        """Return the files of an artifact."""
        response = self._send("GET", f"{self._base}/v1/manifests/{digest}")
        return decode(StoredManifest, response.json()).files

    def fetch(self, digest: str, file: StoredFile, target: Path, advance: Advance) -> None:
        """Write one file of an artifact to `target`, whole and with the right digest or not at all.

        Raises:
            Failed: the bytes are not those that the manifest names.
        """
        draft = target.with_name(f".{target.name}.{os.getpid()}.part")
        address = f"{self._base}/v1/manifests/{digest}/files/{quote(file.path)}"
        try:
            got = client.patiently(self._run, lambda: self._download(address, draft, advance))
            if got != file.digest:
                raise Failed(f"{file.path} arrived with the digest {got[:12]}… and not {file.digest[:12]}…; not kept")
            draft.chmod(file.mode)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def log(self, attempt: str, rank: int) -> Iterator[bytes]:
        """Yield the log of one rank as it is now, in pieces."""
        address = self._log_address(attempt)
        with client.reported(), self._http.stream("GET", address, params={"rank": rank}) as response:
            client.check(response)
            yield from response.iter_bytes()

    def tail(self, attempt: str, rank: int, after: str) -> Iterator[Event]:
        """Yield the log's lines as they come, from behind the event `after`, until the connection or the log ends.

        Raises:
            httpx.TransportError: the connection broke; call again with the last id seen.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self._http.stream("GET", self._log_address(attempt), params={"rank": rank}, headers=headers) as response:
            client.check(response)
            yield from events(response.iter_bytes())

    def _log_address(self, attempt: str) -> str:
        return f"{self._base}/v1/attempts/{quote(attempt, safe='')}/logs"

    def _send(self, method: str, address: str, json: object = None) -> httpx.Response:
        request = self._http.build_request(method, address, json=json)
        return client.patiently(self._run, lambda: client.check(self._http.send(request)))

    def _put(self, source: Path, entry: FileEntry, advance: Advance) -> None:
        headers = {"Content-Length": str(entry.size_bytes), "Content-Type": "application/octet-stream"}
        with source.open("rb") as file:
            content = _counted(file, advance)
            client.check(self._http.put(f"{self._base}/v1/blobs/{entry.digest}", content=content, headers=headers))

    def _download(self, address: str, draft: Path, advance: Advance) -> str:
        digest = hashlib.sha256()
        with self._http.stream("GET", address) as response, draft.open("wb") as file:
            client.check(response)
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
                advance(len(chunk))
        return digest.hexdigest()


def _counted(file: BinaryIO, advance: Advance) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
        advance(len(chunk))
