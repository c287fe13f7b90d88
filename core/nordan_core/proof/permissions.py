"""The derogations that a log tells of: whether judgements rest on none that two others did not approve, as it stands.

Used by `replay`: `note` sees every entry of the first pass, `faults` is asked about each judgement of the second. A key
stands for a member here; which keys are one member's the certificate says (`proof.derogations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nordan_core.domain.approvals import APPROVALS
from nordan_core.proof.export import EntryLine
from nordan_core.proof.tokens import SKEW_S
from nordan_core.residency.derogations import Derogation

_SKEW = timedelta(seconds=SKEW_S)
_ACTS = frozenset({"derogation_requested", "derogation_approved", "derogation_withdrawn", "derogation_revoked"})
#: Acts that take one use for an attempt, whichever of them is the first to rest on it.
_USES = frozenset({"grant_issued", "grant_redeemed", "grant_renewed"})
_ENDINGS = frozenset({"attempt_ended", "attempt_fenced"})


@dataclass(slots=True)
class _Known:
    """What the log has told of one derogation."""

    digest: str = ""
    requested_by: str = ""
    approvals: dict[tuple[str, str], list[datetime]] = field(default_factory=dict)
    """By what was approved, and by whom: entries of two transactions may stand in the log in either order."""
    withdrawn: dict[str, list[datetime]] = field(default_factory=dict)
    """When the approval of a key was taken back, by itself or by another key of its member."""
    revoked_at: datetime | None = None
    attempts: set[str] = field(default_factory=set)

    def not_withdrawn(self, key: str, approvals: Iterable[datetime]) -> list[datetime]:
        """Return those of a key's approvals that came after it last took one back."""
        withdrawn = self.withdrawn.get(key, ())
        return [one for one in approvals if all(one > other for other in withdrawn)]


class Permissions:
    """Grows with the derogations of a log and the uses that they allow."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._keys_gone: dict[str, datetime] = {}
        self._told: set[tuple[str, str]] = set()
        """Attempts with the derogations that an act let them rest on."""

    def note(self, line: EntryLine) -> None:
        """Take up what an entry says of a derogation."""
        if line.act in _USES:
            self._told |= set(_uses(line, line.body.get("verdict")))
        if line.act == "key_revoked" and (when := _instant(line.entry["at"])) is not None:
            self._keys_gone.setdefault(line.subject, when)
        if line.act not in _ACTS:
            return
        known = self._known.setdefault(line.subject, _Known())
        actor, at = str(line.entry["actor"]), _instant(line.entry["at"])
        if line.act == "derogation_requested":
            known.digest, known.requested_by = str(line.body.get("digest")), actor
        elif line.act == "derogation_revoked":
            known.revoked_at = at
        elif line.act == "derogation_withdrawn" and at is not None:
            known.withdrawn.setdefault(str(line.body.get("approved_by")), []).append(at)
        elif at is not None:
            known.approvals.setdefault((str(line.body.get("digest")), actor), []).append(at)

    def faults(self, line: EntryLine, derogation: Derogation, at: datetime) -> Iterator[str]:
        """Yield what speaks against an act that was judged at an instant resting on a derogation."""
        name = f"derogation {derogation.id}"
        known = self._known.get(derogation.id)
        if known is None or known.digest != derogation.digest:
            yield f"it rests on {name}, and the log has nobody asking for that text"
            return
        others = sorted(
            min(standing)
            for (digest, actor), when in known.approvals.items()
            if digest == known.digest and actor != known.requested_by and not self._is_gone(actor, at)
            if (standing := known.not_withdrawn(actor, when))
        )
        if len(others) < APPROVALS:
            yield f"it rests on {name}, which {len(others)} others approved; it takes {APPROVALS}"
        elif at < others[APPROVALS - 1] - _SKEW:
            yield f"it rests on {name} before it was approved at {others[APPROVALS - 1]}"
        if known.revoked_at is not None and at > known.revoked_at + _SKEW:
            yield f"it rests on {name}, which was revoked at {known.revoked_at}"
        attempt = line.body.get("attempt")
        if line.act in _USES and isinstance(attempt, str) and attempt not in known.attempts:
            if len(known.attempts) >= derogation.max_uses:
                yield f"it rests on {name}, all of whose {derogation.max_uses} uses were taken before"
            else:
                known.attempts.add(attempt)

    def _is_gone(self, key: str, at: datetime) -> bool:
        """Tell whether a key was revoked before an instant: its holder's word counts no more."""
        return key in self._keys_gone and at > self._keys_gone[key] + _SKEW

    def end_faults(self, line: EntryLine) -> Iterator[str]:
        """Yield what an attempt rested on at its end, if no act of the log let it."""
        for attempt, name in _uses(line, line.body) if line.act in _ENDINGS else ():
            if (attempt, name) not in self._told:
                yield f"the attempt {attempt} rested on derogation {name}, and no entry says how it came to that"


def _uses(line: EntryLine, said: object) -> list[tuple[str, str]]:
    """Return the attempt of an entry with each derogation that a part of its body names."""
    named = said.get("derogations") if isinstance(said, Mapping) else None
    return [(str(line.body.get("attempt")), str(one)) for one in named] if isinstance(named, list) else []


def _instant(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
