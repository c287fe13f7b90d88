"""Territories, groups and adequacy as dated data: what a code means, and when.

Every judgement takes an `Atlas` and an instant. Groups are never assumed to nest, and vendor region names are never
read. The atlas knows law, not pools or policies; `atlas` reads it from its file.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.hints import did_you_mean, fault_of, plain_form
from nordan_core.residency.reading import kind_of

ADEQUATE = "ADEQUATE"
"""The group that follows from adequacy decisions."""
_SUBDIVISION = re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Territory:
    """An atomic place in law."""

    code: str
    name: str
    parent: str | None = None
    """The state that it belongs to, when it is not one itself."""
    alpha3: str | None = None
    """The ISO 3166-1 alpha-3 code, kept for hints only."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Membership:
    """One territory's time in a group; `valid_until` is the first instant outside."""

    territory: str
    valid_from: datetime
    valid_until: datetime | None
    source: str

    def holds_at(self, instant: datetime) -> bool:
        """Return whether the territory is inside at `instant`."""
        return self.valid_from <= instant and (self.valid_until is None or instant < self.valid_until)


@dataclass(frozen=True, slots=True)
class Adequacy:
    """A decision that a third country protects data adequately; with a condition it covers only some recipients."""

    territory: str | None
    """None for a decision about an organisation that has none."""
    valid_from: datetime
    valid_until: datetime | None
    source: str
    condition: str | None = None
    """Whom it covers, in words, where it does not cover everybody there."""
    attestation: str | None = None
    """What an entity has to hold to be covered by a decision with a condition; None: nobody can show that."""
    organisation: str | None = None

    @property
    def name(self) -> str:
        """Return what it is about."""
        return self.territory or self.organisation or ""

    def holds_at(self, instant: datetime) -> bool:
        """Return whether the decision is in force at `instant`, whatever its condition."""
        return self.valid_from <= instant and (self.valid_until is None or instant < self.valid_until)


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of territories as a step function of time."""

    name: str
    title: str
    memberships: tuple[Membership, ...]
    changes: tuple[datetime, ...]
    """Instants at which the set changes, ascending."""
    sets: tuple[frozenset[str], ...]
    """The set before the first change, then the set from each change on: one more than `changes`."""

    def members(self, instant: datetime) -> frozenset[str]:
        """Return the territories inside at `instant`."""
        return self.sets[bisect_right(self.changes, instant)]

    def next_change(self, instant: datetime) -> datetime | None:
        """Return the first later instant at which the set changes."""
        place = bisect_right(self.changes, instant)
        return self.changes[place] if place < len(self.changes) else None


def dated_group(name: str, title: str, memberships: tuple[Membership, ...]) -> Group:
    """Return the group with its steps worked out."""
    edges = {one.valid_from for one in memberships} | {one.valid_until for one in memberships if one.valid_until}
    changes = tuple(sorted(edges))
    steps = [frozenset(one.territory for one in memberships if one.holds_at(edge)) for edge in changes]
    return Group(name, title, memberships, changes, (frozenset(), *steps))


@dataclass(frozen=True, slots=True)
class Scheme:
    """A certification scheme; levels are partly ordered, and two may be incomparable."""

    name: str
    title: str
    levels: Mapping[str, frozenset[str]]
    """Each level with every level that it includes, itself among them."""
    source: str = ""

    def satisfies(self, have: str, want: str) -> bool:
        """Return whether level `have` includes level `want`; an unknown level includes nothing."""
        return want in self.levels.get(have, frozenset())


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """One version of the data that codes and groups are read with; compared by identity, pinned by digest."""

    version: str
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    territories: Mapping[str, Territory]
    dependents: Mapping[str, frozenset[str]]
    """Each state that has dependencies, with their codes."""
    groups: Mapping[str, Group]
    adequacy: tuple[Adequacy, ...]
    schemes: Mapping[str, Scheme]
    aliases: Mapping[str, str]
    """What people write instead of a code (`UK`), for hints only."""
    unassigned: Mapping[str, str]
    """Codes that look assigned but are not, each with the sentence that explains it."""

    def is_territory(self, code: str) -> bool:
        """Return whether `code` is exactly a territory of this atlas."""
        return code in self.territories

    def is_group(self, name: str) -> bool:
        """Return whether `name` is exactly a group of this atlas."""
        return name in self.groups

    def group(self, name: str, instant: datetime) -> frozenset[str]:
        """Return the territories inside the group at `instant`; an unknown group is empty and allows nothing."""
        group = self.groups.get(name)
        return group.members(instant) if group else frozenset()

    def next_change(self, name: str, instant: datetime) -> datetime | None:
        """Return when the group next changes after `instant`, or None when it never does.

        For ADEQUATE that is also when a decision about some recipients begins or ends.
        """
        group = self.groups.get(name)
        ends = [group.next_change(instant) if group else None]
        if name == ADEQUATE:
            ends += [edge for one in self.adequacy if one.attestation for edge in (one.valid_from, one.valid_until)]
        return min((end for end in ends if end is not None and end > instant), default=None)

    def dependencies(self, state: str) -> frozenset[str]:
        """Return the territories that belong to `state`, itself left out."""
        return self.dependents.get(state, frozenset())

    def adequate(self, territory: str, instant: datetime) -> Adequacy | None:
        """Return the adequacy decision in force for a territory; read its condition before relying on it."""
        held = (one for one in self.adequacy if one.territory == territory and one.holds_at(instant))
        return next(held, None)

    @property
    def attestations(self) -> frozenset[str]:
        """Return what entities may hold that a decision asks of its recipients."""
        return frozenset(one.attestation for one in self.adequacy if one.attestation)

    def conditional(self, territory: str, instant: datetime) -> tuple[Adequacy, ...]:
        """Return the decisions in force that cover some recipients in a territory, or one wherever it is."""
        held = (one for one in self.adequacy if one.attestation and one.holds_at(instant))
        return tuple(one for one in held if one.territory in (None, territory))

    def perhaps_adequate(self, instant: datetime) -> frozenset[str]:
        """Return the territories where some recipients, whoever they are, would be adequate."""
        held = [one for one in self.adequacy if one.attestation and one.holds_at(instant)]
        if any(one.territory is None for one in held):
            return frozenset(self.territories)
        return frozenset(one.territory for one in held if one.territory)

    def parse_territory(self, text: object, field: str) -> str:
        """Return `text` when it is exactly a territory code.

        Raises:
            PolicyError: for anything else, with what was probably meant.
        """
        if isinstance(text, str) and text in self.territories:
            return text
        if isinstance(text, str) and text in self.groups:
            raise PolicyError(field, f"{text!r} is a group; one territory is needed here, such as 'FR'")
        raise PolicyError(field, self._complaint(text, groups_too=False))

    def parse_term(self, text: object, field: str) -> str:
        """Return `text` when it is exactly a territory code or a group name.

        Raises:
            PolicyError: for anything else, with what was probably meant.
        """
        if isinstance(text, str) and (text in self.territories or text in self.groups):
            return text
        raise PolicyError(field, self._complaint(text, groups_too=True))

    def _complaint(self, text: object, *, groups_too: bool) -> str:
        if text is False:
            return 'found the truth value false: YAML reads a bare NO that way; write "NO" in quotes for Norway'
        if not isinstance(text, str):
            return f"expected a territory code as text, found {kind_of(text)}"
        kind = "a territory code or group" if groups_too else "a territory code"
        shown = ascii(text[:80])
        if text in self.unassigned:
            return f"{shown} is not {kind}: {self.unassigned[text]}"
        if not text.strip():
            return f"{shown} is empty; leave the whole facet out to say nothing"
        if text == "*":
            return f"{shown} is not {kind}; a facet that is left out restricts nothing"
        meant = self._meant(text, groups_too=groups_too)
        fault = fault_of(text)
        because = f" ({fault})" if fault and meant else ""
        advice = f"; did you mean {meant!r}?" if meant else self._no_idea(text, groups_too=groups_too)
        return f"{shown} is not {kind}{because}{advice}"

    def _meant(self, text: str, *, groups_too: bool) -> str | None:
        plain = plain_form(text)
        parts = plain.split("-") if _SUBDIVISION.fullmatch(plain) else ["", ""]
        for candidate in (plain, self.aliases.get(plain, ""), parts[1], parts[0]):
            if candidate in self.territories or (groups_too and candidate in self.groups):
                return candidate
        return next((t.code for t in self.territories.values() if plain in (t.alpha3, t.name.upper())), None)

    def _no_idea(self, text: str, *, groups_too: bool) -> str:
        if "-" in text:
            return "; regions' own names are not read, write the territory's ISO 3166-1 code, such as 'FR'"
        guess = did_you_mean(text, self.groups) if groups_too else ""
        return guess or "; write an ISO 3166-1 code, such as 'FR'"
