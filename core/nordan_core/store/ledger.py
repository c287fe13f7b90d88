"""The sealed side of the audit log: entries get their place in the Merkle tree here, and nowhere else.

The sealer takes unsealed entries by state, so one that commits late is sealed by a later batch and none is lost. The
api reads checkpoints, entries and nodes to answer auditors. Hashing itself is in `nordan_core.proof`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select, text
from sqlmodel import Session, col

from nordan_core.domain.ids import JobId
from nordan_core.proof.leaf import entry_document, form_of
from nordan_core.store.audit import Act
from nordan_core.store.tables.proof import AuditEntryRow

_HEAD = text("select size, root, envelope, at from audit_checkpoint order by size desc limit 1")
_HEAD_AT = text("select size, root, envelope, at from audit_checkpoint where size = :size")
_HEADS = text("select size, root, envelope, at from audit_checkpoint where size > :after order by size limit :limit")
_NODES = text(
    """
    select n.level, n.index as position, n.hash from merkle_node n
    join jsonb_to_recordset(cast(:named as jsonb)) as v(level int, index bigint)
      on v.level = n.level and v.index = n.index
    """
)
_PLACE = text(
    """
    update audit_entry e set leaf_index = v.leaf
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(id text, leaf bigint) where e.id = v.id
    """
)
_ADD_NODES = text(
    """
    insert into merkle_node (level, index, hash)
    select level, index, decode(hash, 'hex')
    from jsonb_to_recordset(cast(:rows as jsonb)) as v(level int, index bigint, hash text)
    """
)
_ADD_HEAD = text(
    "insert into audit_checkpoint (size, root, envelope, at) values (:size, :root, cast(:envelope as jsonb), :at)"
)
_SESSION = text(
    "select id from audit_entry where subject = :job and act = :act and body ->> 'session' = :session limit 1"
)


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry as it stands in the log; `leaf_index` is None until it is sealed."""

    id: str
    act: str
    subject: str
    organisation: str | None
    actor: str
    at: datetime
    body: Mapping[str, object]
    salt: bytes
    leaf_index: int | None

    def document(self) -> dict[str, object]:
        """Return what the leaf commits to: everything but the salt and the place."""
        return entry_document(
            entry_id=self.id,
            act=self.act,
            subject=self.subject,
            actor=self.actor,
            at=self.at,
            organisation=self.organisation,
            body=self.body,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """A signed checkpoint."""

    size: int
    root: bytes
    envelope: Mapping[str, object]
    at: datetime


class Ledger:
    """The tree over the acts."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def unsealed(self, limit: int) -> tuple[LoggedEntry, ...]:
        """Take entries that have no place yet, in order of id; each stays locked until this transaction ends."""
        unsealed = select(AuditEntryRow).where(col(AuditEntryRow.leaf_index).is_(None))
        return self._entries(unsealed.order_by(col(AuditEntryRow.id)).limit(limit).with_for_update(skip_locked=True))

    def entry(self, entry_id: str) -> LoggedEntry:
        """Return one entry, sealed or not."""
        [found] = self._entries(select(AuditEntryRow).where(col(AuditEntryRow.id) == entry_id))
        return found

    def of_subjects(self, subjects: Iterable[str]) -> dict[str, list[LoggedEntry]]:
        """Return all entries about these jobs, keys or pools: sealed ones first, in order of the tree."""
        about = select(AuditEntryRow).where(col(AuditEntryRow.subject).in_(list(subjects)))
        found: dict[str, list[LoggedEntry]] = {}
        for entry in self._entries(about.order_by(col(AuditEntryRow.leaf_index).nulls_last(), col(AuditEntryRow.id))):
            found.setdefault(entry.subject, []).append(entry)
        return found

    def has_session(self, job: JobId, session: str) -> bool:
        """Tell whether the log says that a session was opened into an attempt of a job."""
        asked = {"job": job, "act": Act.EXEC_OPENED.value, "session": session}
        return self._session.execute(_SESSION, asked).first() is not None

    def page(self, start: int, limit: int) -> tuple[LoggedEntry, ...]:
        """Return sealed entries from a leaf on, in order of the tree."""
        sealed = select(AuditEntryRow).where(col(AuditEntryRow.leaf_index) >= start)
        return self._entries(sealed.order_by(col(AuditEntryRow.leaf_index)).limit(limit))

    def head(self) -> Head | None:
        """Return the newest checkpoint; None before the first batch was sealed."""
        row = self._session.execute(_HEAD).first()
        return None if row is None else _head(row)

    def head_at(self, size: int) -> Head | None:
        """Return the checkpoint of exactly this size; None where none was signed."""
        row = self._session.execute(_HEAD_AT, {"size": size}).first()
        return None if row is None else _head(row)

    def heads(self, after: int, limit: int) -> tuple[Head, ...]:
        """Return checkpoints larger than a size, smallest first."""
        return tuple(_head(row) for row in self._session.execute(_HEADS, {"after": after, "limit": limit}))

    def nodes(self, named: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Return the hashes of complete nodes by (level, index), in one query."""
        if not named:
            return {}
        rows = self._session.execute(_NODES, {"named": json.dumps([{"level": lv, "index": ix} for lv, ix in named])})
        return {(row.level, row.position): bytes(row.hash) for row in rows}

    def forms(self, entries: Sequence[LoggedEntry]) -> dict[int, int]:
        """Return the form of each sealed entry's leaf by index: that which gives the hash in the tree.

        Raises:
            TreeError: an entry gives its leaf in no form; it was changed behind our back.
        """
        sealed = {one.leaf_index: one for one in entries if one.leaf_index is not None}
        nodes = self.nodes([(0, index) for index in sealed])
        return {index: form_of(one.salt, one.document(), nodes[0, index]) for index, one in sealed.items()}

    def place(self, leaves: Iterable[tuple[str, int]]) -> None:
        """Give entries their leaf index."""
        rows = [{"id": entry, "leaf": leaf} for entry, leaf in leaves]
        self._session.execute(_PLACE, {"rows": json.dumps(rows)})

    def add_nodes(self, nodes: Iterable[tuple[int, int, bytes]]) -> None:
        """Store complete nodes (level, index, hash); they never change."""
        rows = [{"level": level, "index": index, "hash": digest.hex()} for level, index, digest in nodes]
        self._session.execute(_ADD_NODES, {"rows": json.dumps(rows)})

    def add_head(self, head: Head) -> None:
        """Store a signed checkpoint; its size must be new."""
        values = {"size": head.size, "root": head.root, "envelope": json.dumps(head.envelope), "at": head.at}
        self._session.execute(_ADD_HEAD, values)

    def _entries(self, statement: Select[AuditEntryRow]) -> tuple[LoggedEntry, ...]:
        return tuple(_entry(row) for row in self._session.scalars(statement))


def _head(row: Row[Any]) -> Head:  # Any: a row's columns are what the statement says
    return Head(row.size, bytes(row.root), row.envelope, row.at)


def _entry(row: AuditEntryRow) -> LoggedEntry:
    return LoggedEntry(
        row.id, row.act, row.subject, row.organisation_id, row.actor, row.at, row.body, bytes(row.salt), row.leaf_index
    )
