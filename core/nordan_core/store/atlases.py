"""The atlases that were ever in force, newest last: their bytes, whose they are, who applied them.

Whoever applies one has stepped the residency epoch first, so that nobody judges by the old one any more. Nothing here
is ever changed or deleted: certificates name atlases for as long as they are read.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from nordan_core.proof.judgement import ATLAS
from nordan_core.store.audit import Act, Audit, AuditEntry
from nordan_core.store.tables.law import AtlasRow

Document = Mapping[str, Any]  # Any: JSON

_IN_FORCE = text("select number, digest from atlas order by number desc limit 1")
_HISTORY = text("select version, digest, envelope, applied_by, applied_at from atlas order by number desc")
_DATA = text("select digest, data from atlas where digest = any(:digests)")


@dataclass(frozen=True, slots=True)
class AppliedAtlas:
    """One atlas as it was applied."""

    version: str
    digest: str
    signature: Document
    applied_by: str
    """Id of a key, or the deployment that began with it."""
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class AtlasToApply:
    """An atlas that was checked: its bytes are an atlas, and the signature is by a trusted key."""

    version: str
    digest: str
    data: bytes
    signature: Document


class AtlasVersions:
    """Reads and adds atlases."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def in_force(self) -> str | None:
        """Return the digest of the atlas in force; None where none was ever applied: the packaged one then."""
        found = self.newest()
        return None if found is None else found[1]

    def newest(self) -> tuple[int, str] | None:
        """Return the number and the digest of the atlas in force; numbers rise."""
        found = self._session.execute(_IN_FORCE).one_or_none()
        return None if found is None else (int(found.number), str(found.digest))

    def history(self) -> tuple[AppliedAtlas, ...]:
        """Return all that were applied, newest first, without their bytes."""
        return tuple(AppliedAtlas(*row) for row in self._session.execute(_HISTORY))

    def data(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of atlases by digest; unknown ones are left out."""
        wanted = sorted(set(digests))
        rows = self._session.execute(_DATA, {"digests": wanted}) if wanted else ()
        return {row.digest: bytes(row.data) for row in rows}

    def add(self, atlas: AtlasToApply, *, by: str, at: datetime) -> None:
        """Put an atlas in force: the caller has stepped the epoch. One entry in the log, with the bytes.

        With them the log alone is enough to judge again whatever was judged under it.
        """
        body: dict[str, object] = {
            "version": atlas.version,
            "before": self.in_force(),
            "data": base64.b64encode(atlas.data).decode("ascii"),
            "signature": dict(atlas.signature),
        }
        row = AtlasRow(
            digest=atlas.digest,
            version=atlas.version,
            data=atlas.data,
            envelope=dict(atlas.signature),
            applied_by=by,
            applied_at=at,
        )
        self._session.add(row)
        self._session.flush()
        Audit(self._session).write(AuditEntry(Act.ATLAS_APPLIED, f"{ATLAS}{atlas.digest}", by, at, None, body))
