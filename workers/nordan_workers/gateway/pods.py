"""What the agents in a region's pods ask for and bring: staged files, deadlines and stops, checkpoints, outputs, logs.

All of it lies in the region's folder, where executor and supervisor read and write the same files as on one machine;
so renewals, stops, logs and outputs pass through here and never through the cluster's API server. A pod's token opens
its own attempt and nothing else, and dies with the attempt's record.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from weakref import WeakValueDictionary

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from nordan_core.domain.ids import AttemptId, is_id
from nordan_workers.executors.base import WorkFolders
from nordan_workers.executors.folders import make_log_folder, work_folders
from nordan_workers.executors.kubernetes.records import POD, PodRecord
from nordan_workers.finished import is_finished
from nordan_workers.gateway.pod_files import PodFiles
from nordan_workers.gateway.pod_sync import Ask, PodSync
from nordan_workers.gateway.problems import Problem
from nordan_workers.pod.archive import ArchiveRefused, Limits, Reader, archive
from nordan_workers.pod.folders import MAX_FILES, REFUSALS, FolderRefused, whole_folder
from nordan_workers.shim.records import read, write_all
from nordan_workers.store.errors import disk_errors

MAX_SYNC_BYTES = 256 * 1024
MAX_LOG_PIECE_BYTES = 4 << 20
MAX_MARK = 100
#: The code by which an agent knows that its attempt is over and gone, and that its job must not run on.
GONE = "pod_gone"
#: Room for the line that tells where a log was cut.
LAST_LINE_BYTES = 200
ARCHIVE = "application/x-tar"
#: Bytes gathered before they are handed to the disk's thread.
GATHER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pod:
    """An attempt that a request may speak for."""

    attempt_id: AttemptId
    record: PodRecord
    folder: Path
    """Its records."""
    work: WorkFolders

    @property
    def files(self) -> PodFiles:
        """Return where checkpoints and outputs land: in the folders of rank 0."""
        return PodFiles(self.folder, self.work.root, self.work.ranks[self.record.ranks.index(0)])


@dataclass(slots=True)
class Pods:
    """The routes for pods, over what they need."""

    region_dir: Path
    syncs: PodSync
    max_bytes: int
    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def routes(self) -> list[Route]:
        """Return the routes."""
        rank, pod = "/v1/pods/{attempt_id}/ranks/{rank:int}", "/v1/pods/{attempt_id}"
        return [
            Route(f"{rank}/stage", self.stage),
            Route(f"{rank}:sync", self.sync, methods=["POST"]),
            Route(f"{rank}/log", self.log, methods=["PUT"]),
            Route(f"{pod}/files", self.files),
            Route(f"{pod}/checkpoints/{{name}}", self.checkpoint, methods=["PUT"]),
            Route(f"{pod}/checkpoints/{{name}}", self.remove_checkpoint, methods=["DELETE"]),
            Route(f"{pod}/outputs", self.outputs, methods=["PUT"]),
            Route(f"{pod}/outputs:refuse", self.refuse_outputs, methods=["POST"]),
        ]

    def stage(self, request: Request) -> Response:
        """Send what was laid for a rank: inputs, its job files, the checkpoint to resume from."""
        pod = self._admit(request)
        own = pod.work.ranks[pod.record.ranks.index(_rank(request, pod))]
        entries = chain(
            whole_folder(pod.work.inputs, "inputs/"),
            whole_folder(own.cwd, "rank/"),
            whole_folder(own.checkpoints, "checkpoints/"),
        )
        return StreamingResponse(_told(archive(entries), pod.attempt_id), media_type=ARCHIVE)

    async def sync(self, request: Request) -> Response:
        """Tell an agent how long its rank may run on, and what else it must know; note how far the rank is."""
        pod = self._admit(request)
        rank = _rank(request, pod)
        ask = Ask.parse(await _body(request, MAX_SYNC_BYTES))
        async with self._lock(pod, f"sync {rank}"):
            answer = await asyncio.to_thread(self.syncs.answer, pod.record, pod.folder, rank, ask)
        return JSONResponse(answer)

    async def log(self, request: Request) -> Response:
        """Append to a rank's log if the piece begins where the log ends; else say where that is."""
        pod = self._admit(request)
        rank = _rank(request, pod)
        offset = request.query_params.get("offset", "")
        if not offset.isascii() or not offset.isdecimal() or len(offset) > 18:
            raise Problem(400, "bad_offset", "offset is the number of bytes that were sent before")
        piece = await _body(request, MAX_LOG_PIECE_BYTES)
        path = self.region_dir / "logs" / pod.attempt_id / f"rank-{rank}.log"
        async with self._lock(pod, f"log {rank}"):
            return await asyncio.to_thread(_append, path, int(offset), piece, pod.record.log_limit_bytes)

    async def files(self, request: Request) -> Response:
        """Tell what has come from rank 0, for an agent that was restarted, and how much is taken at once."""
        pod = self._admit(request)
        received = await asyncio.to_thread(pod.files.received)
        answer = {"checkpoints": dict(received.checkpoints), "has_outputs": received.has_outputs}
        return JSONResponse({**answer, "max_bytes": self.max_bytes})

    async def checkpoint(self, request: Request) -> Response:
        """Take one finished checkpoint of rank 0; sent again with its mark, it is not taken again."""
        pod = self._admit(request)
        name, mark = request.path_params["name"], request.query_params.get("mark", "")
        if not is_finished(name):
            raise Problem(
                422, "bad_name", "a checkpoint's name is printable and neither begins with . nor ends in .tmp"
            )
        if not 0 < len(mark) <= MAX_MARK or not mark.isascii():
            raise Problem(
                400, "bad_mark", f"mark tells one state of the checkpoint from another, {MAX_MARK} characters"
            )
        async with self._lock(pod, "files"):
            if await asyncio.to_thread(pod.files.has, name, mark):
                return JSONResponse({"is_new": False})
            await self._receive(request, pod.files, name, lambda folder: pod.files.place_checkpoint(folder, name, mark))
        structlog.get_logger().info("pod_checkpoint_taken", attempt_id=pod.attempt_id)
        return JSONResponse({"is_new": True}, 201)

    async def remove_checkpoint(self, request: Request) -> Response:
        """Remove a checkpoint that the program has removed; one that never came is no error."""
        pod = self._admit(request)
        async with self._lock(pod, "files"):
            await asyncio.to_thread(pod.files.remove_checkpoint, request.path_params["name"])
        return JSONResponse({})

    async def outputs(self, request: Request) -> Response:
        """Take rank 0's outputs in place of what was there before."""
        pod = self._admit(request)
        async with self._lock(pod, "files"):
            await self._receive(request, pod.files, None, pod.files.place_outputs)
        structlog.get_logger().info("pod_outputs_taken", attempt_id=pod.attempt_id)
        return JSONResponse({}, 201)

    async def refuse_outputs(self, request: Request) -> Response:
        """Note that rank 0 wrote outputs that cannot be kept, which fails the attempt; the agent names a known code."""
        pod = self._admit(request)
        code = _document(await _body(request, MAX_SYNC_BYTES)).get("code")
        if not isinstance(code, str) or code not in REFUSALS:
            raise Problem(422, "bad_code", f"code is one of {', '.join(REFUSALS)}")
        async with self._lock(pod, "files"):
            try:
                await asyncio.to_thread(pod.files.refuse_outputs, REFUSALS[code])
            finally:
                is_gone = pod.files.clear_if_forgotten()
        if is_gone:
            raise _gone()
        return JSONResponse({}, 201)

    async def _receive(
        self, request: Request, files: PodFiles, only: str | None, place: Callable[[Path], None]
    ) -> None:
        """Lay the body's archive and put it in its place; of an attempt that is forgotten meanwhile nothing stays."""
        try:
            await self._lay(request, files, only, place)
        finally:
            # Not on another thread: this may be the end of the request's task, which is cancelled.
            is_gone = files.clear_if_forgotten()
        if is_gone:
            raise _gone()

    async def _lay(self, request: Request, files: PodFiles, only: str | None, place: Callable[[Path], None]) -> None:
        """Lay the archive and place it; whatever goes wrong, nothing of it stays."""
        laying, folder = await asyncio.to_thread(files.laying, only)
        reader = Reader(laying, Limits(self.max_bytes, 2 * MAX_FILES))
        try:
            with disk_errors():
                await _feed(request, reader)
                reader.finish()
                await asyncio.to_thread(laying.complete)
                await asyncio.to_thread(place, folder)
        except ArchiveRefused as error:
            await asyncio.to_thread(laying.undo)
            raise Problem(422, "unsafe_archive", str(error)) from error
        except BaseException:
            # Not on another thread: this may be the end of the request's task, which is cancelled.
            laying.undo()
            raise

    def _admit(self, request: Request) -> Pod:
        """Return the attempt that the request's token opens.

        Raises:
            Problem: 401 without the attempt's token; 404 for an attempt that this region does not, or no longer, hold.
        """
        attempt_id = request.path_params["attempt_id"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not is_id(attempt_id, "att"):
            raise Problem(404, "not_found", "no such attempt")
        attempts = self.region_dir / "attempts"
        if not attempts.is_dir():
            # Nobody may take a volume that is not mounted for the end of every attempt.
            raise Problem(503, "not_ready", "this region's folder is not ready", headers={"Retry-After": "5"})
        folder = attempts / attempt_id
        record = read(folder / POD, PodRecord)
        if record is None:
            raise _gone()
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), record.token.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(
                401, "token_wrong", "send the attempt's own token as Authorization: Bearer …", headers=headers
            )
        return Pod(attempt_id, record, folder, work_folders(self.region_dir, attempt_id, record.ranks, None))

    def _lock(self, pod: Pod, what: str) -> asyncio.Lock:
        """Return the lock of one matter of an attempt; it lives as long as somebody holds it."""
        return self._locks.setdefault((pod.attempt_id, what), asyncio.Lock())


def _gone() -> Problem:
    return Problem(404, GONE, "this region holds no such attempt, or holds it no longer")


def _rank(request: Request, pod: Pod) -> int:
    rank = int(request.path_params["rank"])
    if rank not in pod.record.ranks:
        raise Problem(404, "not_found", "the attempt has no such rank")
    return rank


async def _body(request: Request, limit_bytes: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise Problem(413, "too_large", f"the body is over {limit_bytes} bytes")
    return bytes(body)


async def _feed(request: Request, reader: Reader) -> None:
    gathered = bytearray()
    async for piece in request.stream():
        gathered += piece
        if len(gathered) >= GATHER_BYTES:
            await asyncio.to_thread(reader.feed, bytes(gathered))
            gathered.clear()
    await asyncio.to_thread(reader.feed, bytes(gathered))


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid", "the body is not JSON") from error
    if not isinstance(document, dict):
        raise Problem(422, "invalid", "the body is not a JSON object")
    return document


def _append(path: Path, offset: int, piece: bytes, limit_bytes: int) -> Response:
    """Append what still fits under the limit, which has room for the line that tells of it."""
    make_log_folder(path.parent)
    if path.is_symlink():
        raise Problem(422, "log_unusable", "the place of this log is taken by something that is no file")
    with disk_errors():
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            have = os.fstat(file).st_size
            if have != offset:
                return JSONResponse({"offset": have}, 409)
            fitting = piece[: max(0, limit_bytes + LAST_LINE_BYTES - have)]
            write_all(file, fitting)
        finally:
            os.close(file)
    return JSONResponse({"offset": have + len(fitting), "is_full": len(fitting) < len(piece)})


def _told(pieces: Iterator[bytes], attempt_id: AttemptId) -> Iterator[bytes]:
    """Pass an archive on; one that breaks off has no seal, so the stager refuses it and asks again."""
    try:
        yield from pieces
    except (FolderRefused, ArchiveRefused, OSError) as error:
        structlog.get_logger().warning("pod_stage_failed", attempt_id=attempt_id, error=type(error).__name__)
