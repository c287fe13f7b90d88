"""What a run of the mutants has found out, in files that grow by a line each time, so that the next run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutation.mutants import Mutant


@dataclass(frozen=True, slots=True)
class Trace:
    """One test on the real package: what it takes, and what it goes through."""

    test: str
    seconds: float
    """Of processor time."""
    functions: frozenset[str]
    """Module and outermost function, as `Mutant.module` and `Mutant.function` name them, with a blank between."""


class Results:
    """Which test noticed which mutant, in a file that grows by a line for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noticed = {(entry["mutant"], entry["of"]): entry["by"] for entry in _entries(path)}

    def noticed_by(self, mutant: Mutant) -> str | None:
        """Return the test that noticed a mutant of the module as it is now."""
        return self._noticed.get((mutant.name, _digest(mutant.path)))

    def keep(self, mutant: Mutant, by: str) -> None:
        """Keep that a test noticed a mutant."""
        of = _digest(mutant.path)
        self._noticed[mutant.name, of] = by
        _append(self._path, {"mutant": mutant.name, "of": of, "by": by})


class Traces:
    """What each test goes through, for as long as none of the sources has changed."""

    def __init__(self, path: Path, sources: Iterable[Path]) -> None:
        self._path = path
        self._of = hashlib.sha256("".join(map(_digest, sorted(sources))).encode()).hexdigest()[:16]
        entries = (entry for entry in _entries(path) if entry["of"] == self._of)
        found = (Trace(one["test"], one["s"], frozenset(one["functions"])) for one in entries)
        self.known: dict[str, Trace] = {one.test: one for one in found}

    def keep(self, trace: Trace) -> None:
        """Keep what a test goes through."""
        self.known[trace.test] = trace
        found = {"test": trace.test, "s": trace.seconds, "functions": sorted(trace.functions)}
        _append(self._path, {"of": self._of, **found})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _entries(path: Path) -> Iterator[dict[str, Any]]:  # Any: JSON
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        yield json.loads(line)


def _append(path: Path, entry: dict[str, Any]) -> None:  # Any: JSON
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
