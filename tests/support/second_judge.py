"""A second judge, written from the documents and not from the core: plain, slow, asked for a second opinion.

It reads the documents as they are stored and imports nothing of `nordan_core`, so that a mistake in the core is not one
here. It keeps sets as lists of lists, adds shares as exact fractions, and answers with the names of failing facets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cache, reduce
from typing import Any

Document = Mapping[str, Any]
Statements = dict[str, Any]
Effective = tuple[Statements, set[str]]

PLACES = ("process", "store", "describe", "access", "key")
RANKS = {
    "encryption": ("none", "rest", "byok", "hyok"),
    "compute": ("none", "tee", "tee_gpu"),
    "tenancy": ("shared", "dedicated", "single"),
    "evidence": ("E0", "E1", "E2", "E3", "E4"),
    "class": ("public", "internal", "confidential", "restricted"),
}
PUBLIC, INTERNAL, CONFIDENTIAL, FLOORS, OWNERS = 0, 1, 2, ("organisation", "project"), ("input", "parent")
NOT_ASKED_OF_STORAGE = {"process", "compute", "tenancy", "egress"}
ASKED_OF_A_CONTROL_PLANE = ("describe", "forbid_exposure", "valid_until")
UNENFORCED, NOBODY, RUNNERS, HALF = "unenforced", "(nobody on record)", ("provider", "operator"), Fraction(1, 2)


def statements(policy: Document) -> Statements:
    """Return what a policy document states, each facet in its one form here."""
    said = {facet: policy["residency"] for facet in PLACES if "residency" in policy} | dict(policy)
    return {facet: _one_form(facet, value) for facet, value in said.items() if facet != "residency"}


def _one_form(facet: str, value: Any) -> Any:
    if facet in PLACES:
        return value["all_of"] if isinstance(value, Mapping) else [value]
    if facet in RANKS:
        return RANKS[facet].index(value)
    if facet == "certifications":
        asked = ((scheme, [level] if isinstance(level, str) else level) for scheme, level in value.items())
        return {(scheme, level) for scheme, levels in asked for level in levels}
    if facet == "ownership_max":
        return {(group, limit): most for group, limits in value.items() for limit, most in limits.items()}
    if facet == "valid_until":
        return instant(value)
    return set(value) if isinstance(value, list) and facet != "seal_min" else value


def meet(one: Statements, two: Statements) -> Statements:
    """Return what both together state."""
    return {**one, **two, **{facet: _both(facet, one[facet], two[facet]) for facet in one.keys() & two.keys()}}


def _both(facet: str, one: Any, two: Any) -> Any:
    if facet in PLACES:
        return [*one, *two]
    if facet in ("forbid_exposure", "non_derogable", "certifications"):
        return one | two
    if facet == "seal_min":
        return [max(pair) for pair in zip(one, two, strict=True)]
    if facet == "ownership_max":
        return {key: min(said[key] for said in (one, two) if key in said) for key in one.keys() | two.keys()}
    if facet == "egress":
        return one & two if UNENFORCED not in (one, two) else (two if one == UNENFORCED else one)
    return min(one, two) if facet == "valid_until" else max(one, two)


def effective(layers: Iterable[tuple[str, Document]], *, has_content: bool) -> tuple[Statements, set[str]]:
    """Return what holds for a job with layers of (kind, policy), and the places that nobody but the job stated."""
    said = [(kind, statements(policy)) for kind, policy in layers]
    floors = [policy for kind, policy in said if kind in FLOORS]
    owners = [policy for kind, policy in said if kind in OWNERS]
    together: Statements = reduce(meet, (policy for _, policy in said), {})
    default = CONFIDENTIAL if has_content else INTERNAL
    is_settled = any("class" in policy for policy in floors) or (owners and all("class" in one for one in owners))
    together["class"] = together["class"] if is_settled else max(default, together.get("class", default))
    is_waived = bool(owners) and all(policy.get("egress") == UNENFORCED for policy in owners)
    is_ruled = any(isinstance(policy.get("egress"), set) for policy in (*floors, *owners))
    if not is_waived and not is_ruled:
        own = together.pop("egress", UNENFORCED)
        if together["class"] >= CONFIDENTIAL or own != UNENFORCED:
            together["egress"] = set() if together["class"] >= CONFIDENTIAL else own
    missing = {facet for facet in PLACES if not any(facet in policy for policy in (*floors, *owners))}
    return together, missing if together["class"] > PUBLIC else set()


@cache
def instant(text: str) -> datetime:
    """Return the instant that a document writes; a bare day is its first moment."""
    return datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z")


def _is_time(since: str | None, until: str | None, now: datetime) -> bool:
    return (since is None or instant(since) <= now) and (until is None or now < instant(until))


class Atlas:
    """Territories, groups and schemes as the atlas file lists them."""

    def __init__(self, document: Document) -> None:
        self.territories, self.schemes = document["territories"], document["certifications"]
        self.groups = {name: group["members"] for name, group in document["groups"].items()}
        self.groups["ADEQUATE"] = [entry for entry in document["adequacy"] if "condition" not in entry]
        self.partial = [entry for entry in document["adequacy"] if "attestation" in entry]
        self.is_in = cache(self._is_in)

    def _is_in(self, territory: str, place: str, now: datetime) -> bool:
        entries = (entry for entry in self.groups.get(place, ()) if entry["territory"] == territory)
        return territory == place or any(_is_time(one["from"], one.get("until"), now) for one in entries)

    def allows(self, lists: Any, territory: str | None, now: datetime, who: Sequence[Document | None] = ()) -> bool:
        """Return whether every list has the territory where these run a place; one that is not known is in none."""
        places = {one for each in lists for one in each if territory and self.is_in(territory, one, now)}
        places |= {"ADEQUATE"} if territory and who and all(self._covers(territory, one, now) for one in who) else set()
        return territory is not None and all(places & set(each) for each in lists)

    def _covers(self, territory: str, recipient: Document | None, now: datetime) -> bool:
        here = [one for one in self.partial if one.get("territory", territory) == territory]
        asked = {one["attestation"] for one in here if _is_time(one["from"], one.get("until"), now)}
        held = (one for one in (recipient or {}).get("attestations", ()) if one["name"] in asked)
        return any(_is_time(one["valid_from"], one["valid_until"], now) for one in held)

    def forbids(self, states: Iterable[str], territory: str) -> bool:
        """Return whether the territory is one of these states, depends on one, or is not known."""
        parent = self.territories.get(territory, {}).get("parent")
        return territory not in self.territories or bool({territory, parent} & set(states))

    def reaches(self, scheme: str, held: str, asked: str) -> bool:
        """Return whether a level of a scheme is the asked one or stands above it."""
        return held == asked or any(self.reaches(scheme, one, asked) for one in self.schemes[scheme]["levels"][held])


class Facts:
    """The facts document of a pool or a control plane, with who owns whom as its entities say."""

    def __init__(self, document: Document) -> None:
        self.said = document
        self.of = {entity["name"]: entity for entity in document["entities"]}
        self.owners = {name: _owners(entity) for name, entity in self.of.items()}
        self.strangers = {owner for owners in self.owners.values() for owner in owners} - self.of.keys()
        self.operators = {document.get("provider", document["operator"]), document["operator"]}
        self.operators |= {one["operator"] for one in document.get("endpoints", ())}
        self.held = cache(self._held)
        self.nobody = self._with_circles(self.strangers)

    def where(self, facet: str, *, is_run: bool) -> list[tuple[str | None, list[Document | None]]]:
        """Return the territories that a facet asks about, None for an unknown one, each with those who run it."""
        said, kinds = self.said, ["key"] if facet == "key" else ["store", "log"] if is_run else ["store"]
        if facet in ("process", "describe"):
            return [(said["territory"], [self.of.get(said.get(one, said["operator"])) for one in RUNNERS])]
        if facet == "access":
            host, every = self.of.get(said["host"] or said["operator"]), [self.of.get(one) for one in self.operators]
            staff = [(code, every) for code in said["access_territories"] or [None]]
            return [*staff, (host["seat"] if host else None, [host])]
        found = [[one for one in said["endpoints"] if one["kind"] == kind] for kind in kinds]
        none = {"territory": None, "operator": NOBODY}
        return [(one["territory"], [self.of.get(one["operator"])]) for ones in found for one in ones or [none]]

    def _held(self, hand: frozenset[str]) -> set[str]:
        # Whom a hand of holders controls, itself included: what it controls counts in full further down the chain.
        full: set[str] = set(hand)
        while True:
            led = {name for name, share in self._shares(hand, full).items() if share > HALF}
            led |= {one for one in self.of if any(say and by in full for by, (*_, say) in self.owners[one].items())}
            if led <= full:
                return full
            full |= led

    def _shares(self, hand: frozenset[str], full: set[str]) -> dict[str, Fraction]:
        # The greater share, of capital or votes, that a hand has of others: owners in `full` whole, the rest in part.
        names = [name for name in self.of if name not in hand]
        both = []
        for kind in (0, 1):
            part = {name: {owner: share[kind] for owner, share in self.owners[name].items()} for name in names}
            rows = [[int(one == by) - (0 if by in full else part[one].get(by, 0)) for by in names] for one in names]
            whole = [sum(share for by, share in part[one].items() if by in full) for one in names]
            both.append(_solved([[*row, share] for row, share in zip(rows, whole, strict=True)]))
        return {name: max(pair) for name, *pair in zip(names, *both, strict=True)}

    def controlled_by(self, holder: str) -> set[str]:
        """Return the described entities that a holder controls."""
        return {name for name in self.held(frozenset([holder])) if name != holder}

    def exposure(self, name: str) -> set[str] | None:
        """Return the territories whose law reaches an entity; None where that is not known."""
        above = [other for other in (*self.of, *self.strangers) if name in self.controlled_by(other)]
        near = [self.of.get(one) for one in (name, *above, *self.controlled_by(name))]
        seats = [one["seat"] if one else None for one in near]
        if None in seats or self.of[name]["presences"] is None or any(self._is_untraced(one) for one in (name, *above)):
            return None
        return {*seats, *self.of[name]["presences"]}

    def _is_untraced(self, name: str) -> bool:
        lost = [(capital, votes) for one, (capital, votes, _) in self.owners[name].items() if one in self.strangers]
        return any(sum(kind) > Fraction(24, 100) for kind in zip(*lost, strict=True)) or name in self.held(self.nobody)

    def _with_circles(self, hand: set[str]) -> frozenset[str]:
        """Return a hand with the companies that it and they themselves hold by more than half, so that nobody tops."""
        full = hand | {name for name in self.of if self.owners[name]}
        while out := {one for one, share in self._shares(frozenset(hand), full).items() if share <= HALF} & full:
            full -= out
        return frozenset(full)

    def outside(self, name: str, is_home: Callable[[str], bool]) -> tuple[Fraction, Fraction]:
        """Return the largest share of one owner from outside, and that of all of them together."""
        at_home = {one for one, entity in self.of.items() if entity["seat"] is not None and is_home(entity["seat"])}
        if name not in at_home:
            return Fraction(1), Fraction(1)
        foreign = self.of.keys() - at_home
        hands = [self._with_circles(foreign | self.strangers), self.nobody, *(frozenset([one]) for one in foreign)]
        together, *alone = (self._shares(hand - {name}, self.held(hand))[name] for hand in hands)
        return max(alone), together


def _owners(entity: Document) -> dict[str, tuple[Fraction, Fraction, bool]]:
    owners = {
        one["owner"]: (Fraction(one["capital_percent"]) / 100, Fraction(one["votes_percent"]) / 100, one["control"])
        for one in entity["owners"] or ()
    }
    capital, votes = (1 - sum((one[kind] for one in owners.values()), Fraction(0)) for kind in (0, 1))
    return owners if entity["owners"] == [] or not (capital or votes) else {**owners, NOBODY: (capital, votes, False)}


def _solved(rows: list[list[Any]]) -> list[Fraction]:
    # Linear equations; of a loop of owners that nobody enters, nothing is held.
    for pivot in range(len(rows)):
        rows[pivot] = [cell / Fraction(rows[pivot][pivot] or 1) for cell in rows[pivot]]
        for other in range(len(rows)):
            factor = rows[other][pivot]
            if other != pivot and factor:
                rows[other] = [cell - factor * base for cell, base in zip(rows[other], rows[pivot], strict=True)]
    return [row[-1] for row in rows]


@dataclass(frozen=True)
class SecondJudge:
    """What may happen where, by the documents alone."""

    atlas: Atlas

    def runs(self, of: Effective, pool: Facts, now: datetime) -> set[str]:
        """Return what stands against a job on a pool."""
        return of[1] | self._failing(of[0], pool, now)

    def stores(self, of: Effective, pool: Facts, now: datetime) -> set[str]:
        """Return what stands against bytes in the region of a pool."""
        return (of[1] | self._failing(of[0], pool, now, is_run=False)) - NOT_ASKED_OF_STORAGE

    def describes(self, of: Effective, plane: Facts, now: datetime) -> set[str]:
        """Return what stands against a control plane that holds a job's description."""
        asked: Statements = {facet: of[0][facet] for facet in ASKED_OF_A_CONTROL_PLANE if facet in of[0]}
        return (of[1] & {"describe"}) | self._failing(asked, plane, now)

    def reads(self, of: Effective, territory: str | None, now: datetime) -> set[str]:
        """Return what stands against a reader of logs or artifacts, whose territory may not be on record."""
        asked = of[0].get("access", [])
        is_in = of[0]["class"] <= INTERNAL if territory is None else self.atlas.allows(asked, territory, now)
        lapsed = {"valid_until"} if "valid_until" in of[0] and of[0]["valid_until"] <= now else set()
        return (of[1] & {"access"}) | (set() if is_in else {"access"}) | lapsed

    def _failing(self, asked: Statements, at: Facts, now: datetime, *, is_run: bool = True) -> set[str]:
        fails = {facet for facet, want in asked.items() if not self._holds(facet, want, at, now, is_run)}
        return fails | ({"facts"} if "valid_until" in at.said and instant(at.said["valid_until"]) <= now else set())

    def _holds(self, facet: str, want: Any, at: Facts, now: datetime, is_run: bool) -> bool:
        said, services = at.said, {"compute", "storage"} if is_run else {"storage"}
        if facet in PLACES:
            return all(self.atlas.allows(want, code, now, who) for code, who in at.where(facet, is_run=is_run))
        if facet == "forbid_exposure" and want:
            reach = [at.exposure(name) for name in at.operators]
            return not any(one is None or any(self.atlas.forbids(want, code) for code in one) for one in reach)
        if facet == "ownership_max":
            limits = [(name, *of, most) for name in at.operators for of, most in want.items()]
            return all(self._share(at, name, group, limit, now) <= most for name, group, limit, most in limits)
        if facet == "certifications":
            return all(self._is_certified(said, scheme, level, services, now) for scheme, level in want)
        if facet == "seal_min":
            return all(have >= least for have, least in zip(said["seal"] or [0] * 8, want, strict=True))
        if facet in ("encryption", "compute", "tenancy", "evidence"):
            kept = [one for one in said["tenancy"] if one == "single" or "isolation" in said["enforces"]]
            offered = kept if facet == "tenancy" else [said[facet]]
            return want == 0 or any(one is not None and RANKS[facet].index(one) >= want for one in offered)
        if facet == "egress":
            return want == UNENFORCED or "egress" in said["enforces"]
        return facet != "valid_until" or now < want

    def _share(self, at: Facts, name: str, group: str, limit: str, now: datetime) -> Fraction:
        shares = at.outside(name, lambda seat: self.atlas.is_in(seat, group, now))
        return 100 * shares[("single", "collective").index(limit)]

    def _is_certified(self, said: Document, scheme: str, level: str, services: set[str], now: datetime) -> bool:
        held = [one for one in said["certifications"] if one["scheme"] == scheme and services <= set(one["scope"])]
        levels = [one["level"] for one in held if _is_time(one["valid_from"], one["valid_until"], now)]
        return any(self.atlas.reaches(scheme, one, level) for one in levels)
