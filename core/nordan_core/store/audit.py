"""Write acts into the audit log: one entry per act, inside the act's own transaction, unsequenced.

Two transactions never wait for each other here; the sealer (`ledger`) numbers entries afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import insert
from sqlmodel import Session

from nordan_core.identifiers import new_id
from nordan_core.store.tables.proof import AuditEntryRow


class Act(StrEnum):
    """What was done."""

    JOB_ACCEPTED = "job_accepted"
    JOB_REFUSED = "job_refused"
    JOB_EXPIRED = "job_expired"
    GRANT_ISSUED = "grant_issued"
    GRANT_REDEEMED = "grant_redeemed"
    GRANT_DENIED = "grant_denied"
    GRANT_RENEWED = "grant_renewed"
    """A new word of the judge lets an attempt go on, by derogations; where the policy alone does, it is no act."""
    GRANT_REVOKED = "grant_revoked"
    """What runs or was to run became unlawful; its end is an act of its own."""
    ATTEMPT_ENDED = "attempt_ended"
    ATTEMPT_FENCED = "attempt_fenced"
    CANCEL_REQUESTED = "cancel_requested"
    UPLOAD_ALLOWED = "upload_allowed"
    UPLOAD_REFUSED = "upload_refused"
    COPY_ALLOWED = "copy_allowed"
    COPY_REFUSED = "copy_refused"
    JOB_RESUMED = "job_resumed"
    """Its owner chose to go on after an attempt was fenced."""
    RESUME_REFUSED = "resume_refused"
    ARTIFACT_STORED = "artifact_stored"
    ARTIFACT_FENCED = "artifact_fenced"
    """A place of it became unlawful: its bytes stay there and nobody reads them."""
    ARTIFACT_RELEASED = "artifact_released"
    READ_ALLOWED = "read_allowed"
    READ_REFUSED = "read_refused"
    EXEC_OPENED = "exec_opened"
    EXEC_REFUSED = "exec_refused"
    POLICY_CHANGED = "policy_changed"
    ATLAS_APPLIED = "atlas_applied"
    """With its bytes and their signature, so that the log alone tells what was judged under it."""
    DEROGATION_REQUESTED = "derogation_requested"
    DEROGATION_APPROVED = "derogation_approved"
    """One entry for each approval."""
    DEROGATION_WITHDRAWN = "derogation_withdrawn"
    """A member took their own approval back before the second one."""
    DEROGATION_REVOKED = "derogation_revoked"
    DECLASSIFICATION_REQUESTED = "declassification_requested"
    DECLASSIFICATION_APPROVED = "declassification_approved"
    """One entry for each approval; the second changes the artifact's policy."""
    DECLASSIFICATION_WITHDRAWN = "declassification_withdrawn"
    """As of derogations."""
    DECLASSIFICATION_REVOKED = "declassification_revoked"
    FACTS_CHANGED = "facts_changed"
    REGION_JOINED = "region_joined"
    NODES_HELD = "nodes_held"
    """An operator cordoned or drained nodes, or let them take work again."""
    TENANT_CHANGED = "tenant_changed"
    SIGNING_KEY_CHANGED = "signing_key_changed"
    """A key that signs grants or the log made way for another; the entry holds the statement that says so."""
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act: who did what to which subject, with handles and digests, never content."""

    act: Act
    subject: str
    actor: str
    at: datetime
    organisation: str | None = None
    body: dict[str, object] = field(default_factory=dict)


_ENTRIES = AuditEntryRow.metadata.tables["audit_entry"]


class Audit:
    """The writing side of the log."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def write(self, *entries: AuditEntry) -> list[str]:
        """Insert entries and return their ids."""
        return self.write_all(entries)

    def write_all(self, entries: Iterable[AuditEntry]) -> list[str]:
        """Insert many entries in one statement and return their ids."""
        rows = [_row(entry) for entry in entries]
        if rows:
            # The plain table: the ORM's bulk path costs as much again, and every act passes here.
            self._session.connection().execute(insert(_ENTRIES), rows)
        return [str(row["id"]) for row in rows]


def _row(entry: AuditEntry) -> dict[str, object]:
    return {
        "id": new_id("aud"),
        "act": entry.act.value,
        "subject": entry.subject,
        "organisation_id": entry.organisation,
        "actor": entry.actor,
        "at": entry.at,
        "body": entry.body,
        "salt": os.urandom(16),
    }
