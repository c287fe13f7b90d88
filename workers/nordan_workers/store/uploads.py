"""Which bytes arrived under which upload, so that naming another tenant's digest gives nobody their bytes.

The gateway notes each blob that a client sent in full; a commit may name only those. Notes outlive a restart of
the gateway and are removed after a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nordan_core.domain.ids import is_id
from nordan_workers.store.region_store import is_digest

KEPT_S = 24 * 3600


class UploadNotes:
    """Empty files `<upload>/<digest>` below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def note(self, upload_id: str, digest: str) -> None:
        """Remember that all bytes of this digest came under this upload."""
        folder = self._upload(upload_id)
        folder.mkdir(exist_ok=True, mode=0o700)
        assert is_digest(digest)
        (folder / digest).touch(mode=0o600)

    def missing(self, upload_id: str, digests: Iterable[str]) -> list[str]:
        """Return the digests that never came under this upload, sorted."""
        folder = self._upload(upload_id)
        return sorted({one for one in digests if not is_digest(one) or not (folder / one).exists()})

    def forget_older(self, *, now_s: float, kept_s: float = KEPT_S) -> int:
        """Remove notes of uploads without news for `kept_s`; returns how many. `now_s` is seconds since 1970."""
        stale = [one for one in self._folder.iterdir() if one.stat().st_mtime < now_s - kept_s]
        for folder in stale:
            for note in folder.iterdir():
                note.unlink(missing_ok=True)
            folder.rmdir()
        return len(stale)

    def _upload(self, upload_id: str) -> Path:
        if not is_id(upload_id, "upl"):
            raise ValueError("not an upload's id")
        return self._folder / upload_id
