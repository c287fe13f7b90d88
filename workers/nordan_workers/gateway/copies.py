"""A copy between regions: this gateway fetches an artifact's bytes from the one that holds them.

Bytes go from region to region and nowhere else. Whence is the control plane's word, asked for under the upload that
the client was given leave for: a client cannot name an address. Each blob is checked against its digest; what is here
already is not fetched again, so a copy that broke off goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from nordan_core.clock import Clock
from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.domain.errors import NordanError
from nordan_core.domain.ids import is_id
from nordan_core.proof.tokens import AccessClaims
from nordan_core.wire import CopySource, UploadCommit
from nordan_workers.api_client import WorkerApi
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.problems import Problem, problem_of
from nordan_workers.store.region_store import RegionStore

#: How often the client hears how far it is.
TOLD_EVERY_BYTES = 4 << 20
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
#: A word of the control plane on a copy counts for so long.
ASK_AGAIN_S = 30.0
LINES = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Copies:
    """The route for copies, over what it needs."""

    doorkeeper: Doorkeeper
    store: RegionStore
    api: WorkerApi
    http: httpx.AsyncClient
    clock: Clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/uploads/{upload_id}:pull", self.pull, methods=["POST"])]

    async def pull(self, request: Request) -> Response:
        """Fetch and commit; the answer is a line of JSON now and then, the last one with the artifact or a problem."""
        upload_id = request.path_params["upload_id"]
        if not is_id(upload_id, "upl"):
            raise Problem(404, "not_found", "no such upload")
        claims = self.doorkeeper.admit(request, "put", f"upload:{upload_id}")
        source = await self.api.copy_source(upload_id)
        return StreamingResponse(self._lines(claims, source), media_type=LINES)

    async def _lines(self, claims: AccessClaims, source: CopySource) -> AsyncIterator[bytes]:
        upload_id, manifest = _upload(claims), source.manifest.to_domain()
        try:
            async for fetched in self._fetch(claims, source, manifest):
                yield _line({"fetched_bytes": fetched, "size_bytes": manifest.size_bytes})
            await asyncio.to_thread(self.store.put_manifest, manifest)
            accepted = await self.api.commit(UploadCommit(upload_id=upload_id, manifest=source.manifest))
        except NordanError as error:
            problem = problem_of(error)
            structlog.get_logger().warning("copy_failed", upload_id=upload_id, code=problem.code)
            yield _line({"problem": {"status": problem.status, "code": problem.code, "detail": problem.detail}})
            return
        structlog.get_logger().info("copy_committed", upload_id=upload_id, artifact_id=accepted.artifact_id)
        yield _line({"artifact_id": accepted.artifact_id, "digest": accepted.digest})

    async def _fetch(self, claims: AccessClaims, source: CopySource, manifest: Manifest) -> AsyncIterator[int]:
        """Fetch what is not here; yield the sum of bytes that are, now and then and at the end.

        Whence is asked again before a file where the last word is old: law may have moved, and leave to read ends.
        """
        done = told = 0
        asked_at_s = self.clock.monotonic()
        for entry in manifest.files:
            if not self.store.has(entry.digest):
                if self.clock.monotonic() - asked_at_s >= ASK_AGAIN_S:
                    source, asked_at_s = await self.api.copy_source(_upload(claims)), self.clock.monotonic()
                async for count in self._fetch_one(claims, source, entry):
                    if done + count - told >= TOLD_EVERY_BYTES:
                        told = done + count
                        yield told
            done += entry.size_bytes
        yield done

    async def _fetch_one(self, claims: AccessClaims, source: CopySource, entry: FileEntry) -> AsyncIterator[int]:
        address = f"{source.url}/files/{quote(entry.path)}"
        headers = {"Authorization": f"Bearer {source.token}"}
        count = 0
        try:
            with self.store.writer(limit_bytes=entry.size_bytes) as writer:
                async with self.http.stream("GET", address, headers=headers, timeout=TIMEOUT) as answer:
                    if answer.status_code != httpx.codes.OK:
                        raise Problem(502, "source_refused", f"the other region answered {answer.status_code}")
                    async for chunk in answer.aiter_bytes():
                        self.doorkeeper.check_fences(claims)
                        await asyncio.to_thread(writer.write, chunk)
                        count += len(chunk)
                        yield count
                await asyncio.to_thread(writer.commit, entry.digest)
        except httpx.HTTPError as error:
            raise Problem(502, "source_away", "the other region broke off; ask again, the copy goes on") from error


def _upload(claims: AccessClaims) -> str:
    return claims.obj.removeprefix("upload:")


def _line(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"
