"""Where each region's broker is: a file that the api writes when a region joins, read again when it changes."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from nordan_core.domain.ids import RegionCode
from nordan_core.settings import read_brokers


class Brokers:
    """The address book of brokers; safe to share between threads."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._urls: dict[str, str] = {}

    def url(self, region: RegionCode) -> str | None:
        """Return a region's broker URL, which may hold a password; None before the region joined."""
        with self._lock:
            self._refresh()
            return self._urls.get(region)

    def regions(self) -> frozenset[RegionCode]:
        """Return the regions that have a broker."""
        with self._lock:
            self._refresh()
            return frozenset(RegionCode(code) for code in self._urls)

    def _refresh(self) -> None:
        seen = self._stamp()
        if seen != self._seen:
            self._urls = read_brokers(self._path)
            self._seen = seen

    def _stamp(self) -> tuple[int, int, int] | None:
        """Tell versions of the file apart; a file that is renamed into place has another inode each time."""
        try:
            found = self._path.stat() if self._path is not None else None
        except FileNotFoundError:
            found = None
        return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)
