"""Files by what they hold: manifests of datasets, job files, checkpoints and outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class ArtifactKind(StrEnum):
    """What a manifest stands for."""

    DATASET = "dataset"
    FILES = "files"
    CHECKPOINT = "checkpoint"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One file of a manifest; `path` is relative, with forward slashes and without `..`."""

    path: str
    digest: str
    """SHA-256 of the bytes, hex."""
    size_bytes: int
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files in order of path. Its digest names the whole, whoever made it and wherever it lies."""

    files: tuple[FileEntry, ...]

    @classmethod
    def of(cls, files: Iterable[FileEntry]) -> Manifest:
        """Build a manifest from files in any order."""
        return cls(tuple(sorted(files)))

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of the entries, hex."""
        rows = [[entry.path, entry.digest, entry.size_bytes, entry.mode] for entry in self.files]
        return hashlib.sha256(json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Return the sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.files)


EMPTY = Manifest(())


def is_safe_path(path: str) -> bool:
    """Tell whether a manifest path stays inside the folder where it is laid."""
    parts = path.split("/")
    return bool(path) and "\\" not in path and "\0" not in path and all(part not in {"", ".", ".."} for part in parts)
