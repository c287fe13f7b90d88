"""Bytes come in: blobs one by one under an upload's token, then a commit that names them as one artifact."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nordan_core.domain.contents import Manifest
from nordan_core.domain.ids import is_id
from nordan_core.proof.tokens import AccessClaims
from nordan_core.wire import ManifestMessage, UploadCommit
from nordan_workers.api_client import WorkerApi
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.problems import Problem
from nordan_workers.store.region_store import BlobWriter, RegionStore, is_digest
from nordan_workers.store.uploads import UploadNotes

#: A commit with the most files that a manifest may have fits.
MAX_COMMIT_BYTES = 32 << 20
#: Bytes gathered before they are handed to the disk's thread.
GATHER_BYTES = 1 << 20
SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Uploads:
    """The routes for uploads, over what they need."""

    doorkeeper: Doorkeeper
    store: RegionStore
    notes: UploadNotes
    api: WorkerApi
    max_bytes: int

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/blobs/{digest}", self.put_blob, methods=["PUT"]),
            Route("/v1/uploads/{upload_id}:commit", self.commit, methods=["POST"]),
        ]

    async def put_blob(self, request: Request) -> Response:
        """Take one blob: all of its bytes, or nothing is kept. Sent again, it changes nothing."""
        claims = self.doorkeeper.read(request)
        upload_id = claims.obj.removeprefix("upload:")
        if not is_id(upload_id, "upl"):
            raise Problem(403, "wrong_object", "the token is not good for an upload")
        self.doorkeeper.check(claims, "put", f"upload:{upload_id}")
        digest = request.path_params["digest"]
        if not is_digest(digest):
            raise Problem(422, "bad_digest", "a blob is named by its SHA-256, 64 lower-case hex digits")
        _check_length(request, self.max_bytes)
        with self.store.writer(limit_bytes=self.max_bytes) as writer:
            await self._receive(request, writer, claims)
            blob = await asyncio.to_thread(writer.commit, digest)
        self.notes.note(upload_id, digest)
        return JSONResponse({"digest": blob.digest, "size_bytes": blob.size_bytes}, 201)

    async def commit(self, request: Request) -> Response:
        """Make one artifact of blobs that came under this upload; sent again, it gets the same answer."""
        upload_id = request.path_params["upload_id"]
        self.doorkeeper.admit(request, "put", f"upload:{upload_id}")
        message, manifest = _parsed(await _body(request))
        await asyncio.to_thread(self._check_blobs, upload_id, manifest)
        accepted = await self.api.commit(UploadCommit(upload_id=upload_id, manifest=message))
        structlog.get_logger().info("upload_committed", upload_id=upload_id, artifact_id=accepted.artifact_id)
        return JSONResponse({"artifact_id": accepted.artifact_id, "digest": accepted.digest}, 201)

    async def _receive(self, request: Request, writer: BlobWriter, claims: AccessClaims) -> None:
        """Write what comes in, and break it off where it may not be put any more."""
        gathered = bytearray()
        async for chunk in request.stream():
            gathered += chunk
            if len(gathered) >= GATHER_BYTES:
                self.doorkeeper.check_fences(claims)
                await asyncio.to_thread(writer.write, bytes(gathered))
                gathered.clear()
        self.doorkeeper.check_fences(claims)
        await asyncio.to_thread(writer.write, bytes(gathered))

    def _check_blobs(self, upload_id: str, manifest: Manifest) -> None:
        missing = set(self.notes.missing(upload_id, (entry.digest for entry in manifest.files)))
        if missing:
            faults = [
                (f"files.{n}.digest", "not sent") for n, one in enumerate(manifest.files) if one.digest in missing
            ]
            detail = f"{len(missing)} blobs were not sent under this upload; PUT them first"
            raise Problem(409, "blobs_missing", detail, faults=faults[:SHOWN_FAULTS])
        for number, entry in enumerate(manifest.files):
            have = self.store.path(entry.digest).stat().st_size
            if have != entry.size_bytes:
                fault = (f"files.{number}.size_bytes", f"the blob has {have} bytes")
                raise Problem(422, "size_mismatch", "a size is not that of the bytes", faults=[fault])
        self.store.put_manifest(manifest)


def _check_length(request: Request, limit_bytes: int) -> None:
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit_bytes:
        raise Problem(413, "too_large", f"the body is over {limit_bytes} bytes")


async def _body(request: Request) -> bytes:
    _check_length(request, MAX_COMMIT_BYTES)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_COMMIT_BYTES:
            raise Problem(413, "too_large", f"the body is over {MAX_COMMIT_BYTES} bytes")
    return bytes(body)


def _parsed(body: bytes) -> tuple[ManifestMessage, Manifest]:
    try:
        document = json.loads(body, object_pairs_hook=_without_duplicates)
        message = ManifestMessage.model_validate(document)
        return message, message.to_domain()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        fault = (".".join(str(part) for part in first["loc"]), first["msg"])
        raise Problem(422, "invalid", "the manifest is not well-formed", faults=[fault]) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid", f"the manifest is not well-formed: {error}") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
