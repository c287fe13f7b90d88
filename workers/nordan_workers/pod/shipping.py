"""What the agent carries from the pod to the region: the log while it grows, checkpoints as they finish, outputs.

Each carrier has a thread and a connection of its own, so that a checkpoint of many gigabytes holds up neither the log
nor the next deadline. All of them ask the region where they stand, so an agent that was restarted goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from nordan_workers.finished import is_finished
from nordan_workers.pod.archive import ArchiveRefused, archive
from nordan_workers.pod.client import Away, Client, Refused
from nordan_workers.pod.folders import Entry, FolderRefused, check_size, one_entry, whole_folder

LOG = "rank.log"
LOG_PIECE_BYTES = 1 << 20
#: Entries that are looked at, as in the supervisor.
MAX_ENTRIES = 1000
_CONFLICT = frozenset({409})


@dataclass(slots=True)
class LogCarrier:
    """Sends the log's bytes behind those that the region has."""

    client: Client
    path: Path
    _offset: int = 0
    _is_full: bool = False

    def carry(self) -> bool:
        """Send the next piece; returns whether there may be more at once.

        Raises:
            Away, Refused: the piece is sent again.
        """
        if self._is_full or not (piece := self._next_piece()):
            return False
        path = f"{self.client.rank_path}/log?offset={self._offset}"
        answer = self.client.ask("PUT", path, piece, accept=_CONFLICT)
        self._offset = int(answer["offset"])
        self._is_full = bool(answer.get("is_full", False))
        return not self._is_full

    def _next_piece(self) -> bytes:
        try:
            # The job may put a link or a pipe here; neither leads to anything, nor makes the agent wait.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.pread(descriptor, LOG_PIECE_BYTES, self._offset)
        except OSError:
            return b""
        finally:
            os.close(descriptor)


@dataclass(slots=True)
class FileCarrier:
    """Sends finished checkpoints and, at the end, the outputs of rank 0."""

    client: Client
    checkpoints: Path
    outputs: Path
    laid: Mapping[str, str]
    """Marks of the checkpoints that the stager laid."""
    _taken: dict[str, str] = field(default_factory=dict)
    _unusable: dict[str, str] = field(default_factory=dict)
    _has_outputs: bool = False
    _max_bytes: int = 0

    def learn(self) -> None:
        """Ask what the region has by now: an agent before this one may have sent it.

        Raises:
            Away, Refused: nothing is known.
        """
        answer = self.client.ask("GET", f"{self.client.pod_path}/files")
        self._taken = dict(answer["checkpoints"])
        self._has_outputs, self._max_bytes = bool(answer["has_outputs"]), int(answer["max_bytes"])

    def carry_checkpoints(self) -> None:
        """Send what is finished and not there yet, oldest first; what the program has removed is removed there, too.

        Raises:
            Away: what was sent until then is there.
        """
        present = dict(finished(self.checkpoints))
        for name, mark in present.items():
            if mark not in {self._taken.get(name), self.laid.get(name), self._unusable.get(name)}:
                self._carry_checkpoint(name, mark)
        for name in [one for one in self._taken if one not in present]:
            self.client.ask("DELETE", self._path_of(name))
            del self._taken[name]

    def _carry_checkpoint(self, name: str, mark: str) -> None:
        try:
            check_size(one_entry(self.checkpoints, name), self._max_bytes)
            self.client.ask("PUT", f"{self._path_of(name)}?mark={mark}", archive(one_entry(self.checkpoints, name)))
        except (FolderRefused, FileNotFoundError, Refused):
            # Removed by the program, or nothing that another try would mend: as on one machine, it is left out.
            self._unusable[name] = mark
        except ArchiveRefused:
            return  # it changed while it was read; the next look finds it again
        else:
            self._taken[name] = mark

    def _path_of(self, name: str) -> str:
        return f"{self.client.pod_path}/checkpoints/{quote(name, safe='')}"

    def carry_outputs(self) -> None:
        """Send the outputs, or say why they cannot be kept; once.

        Raises:
            Away: they are sent again.
        """
        if self._has_outputs:
            return
        try:
            check_size(self._outputs(), self._max_bytes)
            self.client.ask("PUT", f"{self.client.pod_path}/outputs", archive(self._outputs()))
        except FolderRefused as refused:
            self._refuse(refused.code)
        except Refused:
            self._refuse("not_a_file")
        except (ArchiveRefused, FileNotFoundError) as error:
            raise Away("the outputs changed while they were read") from error

    def _outputs(self) -> Iterator[Entry]:
        # Entries that begin with a dot are the program's own business, as on one machine.
        return (entry for entry in whole_folder(self.outputs) if not entry[0].path.startswith("."))

    def _refuse(self, code: str) -> None:
        try:
            self.client.ask("POST", f"{self.client.pod_path}/outputs:refuse", b'{"code": "%s"}' % code.encode())
        except Refused as error:
            raise Away("the refusal was not understood") from error


def finished(folder: Path) -> list[tuple[str, str]]:
    """Return name and mark of the finished checkpoints, oldest first; a mark changes with the entry."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in islice(listing, MAX_ENTRIES) if is_finished(entry.name)]
            states = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    states.sort(key=lambda one: (one[1].st_mtime_ns, one[0]))
    return [(name, f"{state.st_ino}-{state.st_mtime_ns}") for name, state in states]
