"""An attempt whose ranks are pods, as its executor leaves it in the region's folder, and how an agent speaks for it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

from nordan_core.domain.ids import AttemptId
from nordan_core.identifiers import new_id
from nordan_workers.executors import folders as layout
from nordan_workers.executors.kubernetes.records import AGENT, POD, AgentRecord, PodRecord
from nordan_workers.pod.archive import Member, archive
from nordan_workers.shim import linux
from nordan_workers.shim.records import DEADLINE, STOP, Deadline, Stop, read, write

#: What an archive is made of here: path and bytes; None for a folder.
Files = Mapping[str, bytes | None]


def packed(files: Files) -> bytes:
    """Return a sealed archive of these files."""
    entries = [
        (Member(path, 0o755, is_folder=True), ())
        if data is None
        else (Member(path, 0o644, len(data)), (data,) if data else ())
        for path, data in files.items()
    ]
    return b"".join(archive(entries))


class PodAttempt:
    """One attempt in a region's folder."""

    def __init__(
        self, region_dir: Path, ranks: Iterable[int] = (0,), env: Mapping[str, str] | None = None, limit: int = 1 << 20
    ) -> None:
        self.id = AttemptId(new_id("att"))
        self.region_dir = region_dir
        self.token = secrets.token_hex(32)
        self.ranks = tuple(ranks)
        for name in ("attempts", "work", "logs"):
            (region_dir / name).mkdir(exist_ok=True)
        self.records = region_dir / "attempts" / self.id
        self.records.mkdir()
        self.work = layout.work_folders(region_dir, self.id, self.ranks, None)
        write(self.records / POD, PodRecord(self.token, self.ranks, dict(env or {}), limit))
        self.deadline(3600)

    def make_folders(self) -> None:
        """Make what would be made as soon as something is laid or comes."""
        layout.make(self.work)
        layout.make_log_folder(self.region_dir / "logs" / self.id)

    def deadline(self, in_s: float, boot_id: str | None = None) -> None:
        at_s = time.clock_gettime(time.CLOCK_BOOTTIME) + in_s
        write(self.records / DEADLINE, Deadline(boot_id or linux.boot_id(), at_s))

    def stop(self, grace_s: float) -> None:
        write(self.records / STOP, Stop(time.clock_gettime(time.CLOCK_BOOTTIME), grace_s))

    def forget(self) -> None:
        """Do as the executor does when the attempt is settled."""
        (self.records / POD).unlink(missing_ok=True)

    def log(self, rank: int = 0) -> bytes:
        path = self.region_dir / "logs" / self.id / f"rank-{rank}.log"
        return path.read_bytes() if path.exists() else b""

    def said(self, rank: int = 0) -> AgentRecord | None:
        """Return the last word of a rank's agent."""
        return read(self.records / f"rank-{rank}" / AGENT, AgentRecord)

    @property
    def checkpoints(self) -> dict[str, bytes]:
        return laid(self.work.ranks[0].checkpoints)

    @property
    def outputs(self) -> dict[str, bytes]:
        return laid(self.work.ranks[0].outputs)

    @property
    def half_made(self) -> list[str]:
        """Return what lies in the attempt's folder beside what belongs there."""
        known = {"inputs", "tmp"} | {f"{kind}-{n}" for kind in ("rank", "checkpoints", "outputs") for n in self.ranks}
        there = self.work.root.iterdir() if self.work.root.exists() else ()
        return sorted({one.name for one in there} - known)


class PodCaller:
    """Speaks for an attempt with its token, or with another."""

    def __init__(self, http: httpx.Client, attempt: PodAttempt, token: str | None = None) -> None:
        self._http = http
        self._path = f"/v1/pods/{attempt.id}"
        self._headers = {"Authorization": f"Bearer {attempt.token if token is None else token}"}

    def call(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        return self._http.request(method, self._path + path, content=content, headers=self._headers)

    def sync(self, state: str = "running", rank: int = 0, **more: object) -> dict[str, Any]:
        answer = self.call("POST", f"/ranks/{rank}:sync", json.dumps({"state": state, **more}).encode())
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def put_log(self, piece: bytes, offset: int, rank: int = 0) -> tuple[int, int]:
        answer = self.call("PUT", f"/ranks/{rank}/log?offset={offset}", piece)
        return answer.status_code, answer.json().get("offset", -1)

    def put_checkpoint(self, name: str, files: Files | bytes, mark: str = "1") -> tuple[int, str]:
        body = files if isinstance(files, bytes) else packed(files)
        answer = self.call("PUT", f"/checkpoints/{name}?mark={mark}", body)
        return answer.status_code, answer.json().get("code", "")

    def put_outputs(self, files: Files | bytes) -> tuple[int, str]:
        answer = self.call("PUT", "/outputs", files if isinstance(files, bytes) else packed(files))
        return answer.status_code, answer.json().get("code", "")


def laid(folder: Path) -> dict[str, bytes]:
    """Return every plain file below a folder."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}
