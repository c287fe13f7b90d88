"""The atlas in force, parsed once for each digest: one shelf for each process that judges. Safe between threads.

Which one is in force is a row of the database, and the residency epoch steps when it changes. Whoever judges takes the
atlas of the facts book of its epoch; the newest that a process has seen serves for reading what people write.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from nordan_core.atlas.loader import default_atlas
from nordan_core.domain.errors import Unavailable
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas
from nordan_core.store.unit_of_work import UnitOfWork

#: Parsed atlases kept besides the packaged one; a log may name more.
KEPT = 8


class AtlasShelf:
    """Knows atlases by digest, and which one was in force when it last looked."""

    def __init__(self) -> None:
        self._newest = (0, default_atlas())
        self._known: OrderedDict[str, Atlas] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def newest(self) -> Atlas:
        """Return the atlas that was in force when somebody last looked."""
        return self._newest[1]

    def within(self, work: UnitOfWork) -> Atlas:
        """Return the atlas in force; it stands still for as long as the caller holds the residency epoch.

        Raises:
            Unavailable: this version cannot read it, so it judges nothing.
        """
        number, digest = work.atlases.newest() or (0, default_atlas().digest)
        seen = self._newest[1]
        found = seen if seen.digest == digest else self.by_digest(work, [digest])[digest]
        with self._lock:
            # Whoever does not hold the epoch may be late, and must not set back what another has seen since.
            if number >= self._newest[0]:
                self._newest = (number, found)
        return found

    def by_digest(self, work: UnitOfWork, digests: Iterable[str]) -> dict[str, Atlas]:
        """Return atlases of any time by digest; those that neither the store nor the package has are left out.

        Raises:
            Unavailable: this version cannot read one.
        """
        wanted = set(digests)
        with self._lock:
            found = {one.digest: one for one in (default_atlas(), *self._known.values()) if one.digest in wanted}
        for digest, data in work.atlases.data(wanted - found.keys()).items():
            found[digest] = self._keep(digest, data)
        return found

    def _keep(self, digest: str, data: bytes) -> Atlas:
        try:
            atlas = parse_atlas(data)
        except PolicyError as error:
            raise Unavailable(f"this version cannot read the atlas {digest[:12]}…: {error}", 60.0) from error
        with self._lock:
            self._known[digest] = atlas
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return atlas
