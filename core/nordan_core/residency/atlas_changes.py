"""What two versions of the atlas say differently: the law's own part of what a new version changes.

For whoever is to decide whether it comes into force. What that does to policies and pools is another question: it takes
the judge, and is asked where policies and pools are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import ADEQUATE, Adequacy, Atlas, Membership, Scheme, Territory
from nordan_core.residency.reading import print_instant

_VERSION = re.compile(
    r"[a-z][a-z0-9-]*-(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])(?:\.(?P<more>[1-9]\d{0,3}))?", re.ASCII
)
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class AtlasChange:
    """One thing that is said differently; empty where it is not said at all."""

    kind: str
    """territory, group, adequacy or certification."""
    name: str
    before: str
    after: str


def version_order(version: str) -> tuple[int, int, int]:
    """Return what orders versions by age: year, month, and the number behind the dot, `europe-2026-11` being `.0`.

    Raises:
        PolicyError: the version says no month, so nobody could tell which is the newer.
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        raise PolicyError("version", f"{version[:80]!r} ends with no year and month; write such as 'ours-2026-12'")
    return int(found["year"]), int(found["month"]), int(found["more"] or 0)


def changes_between(before: Atlas, after: Atlas) -> tuple[AtlasChange, ...]:
    """Return what the two say differently, in the order of the file; notes, hints and sources are nobody's law."""
    return (
        *_changed("territory", before.territories, after.territories, _territory),
        *_changed("group", _memberships(before), _memberships(after), _dated),
        *_changed("adequacy", _decisions(before), _decisions(after), _decision),
        *_changed("certification", before.schemes, after.schemes, _scheme),
    )


def _changed(
    kind: str, before: Mapping[str, Thing], after: Mapping[str, Thing], say: Callable[[Thing], str]
) -> Iterator[AtlasChange]:
    for name in sorted(before.keys() | after.keys()):
        said = [say(one[name]) if name in one else "" for one in (before, after)]
        if said[0] != said[1]:
            yield AtlasChange(kind, name, *said)


def _territory(one: Territory) -> str:
    return f"{one.name}, of {one.parent}" if one.parent else one.name


def _memberships(atlas: Atlas) -> dict[str, list[Membership]]:
    found: dict[str, list[Membership]] = {}
    for group in atlas.groups.values():
        for one in group.memberships:
            # What follows from an adequacy decision is told with the decision.
            if group.name != ADEQUATE:
                found.setdefault(f"{group.name} {one.territory}", []).append(one)
    return found


def _decisions(atlas: Atlas) -> dict[str, list[Adequacy]]:
    found: dict[str, list[Adequacy]] = {}
    for one in atlas.adequacy:
        found.setdefault(one.name, []).append(one)
    return found


def _decision(found: Iterable[Adequacy]) -> str:
    return "; ".join(f"{_time(one.valid_from, one.valid_until)}{_only(one)}" for one in found)


def _only(one: Adequacy) -> str:
    held = f" ({one.attestation})" if one.attestation else ""
    return f" for {one.condition}{held}" if one.condition else ""


def _dated(found: Iterable[Membership]) -> str:
    return "; ".join(_time(one.valid_from, one.valid_until) for one in found)


def _time(since: datetime, until: datetime | None) -> str:
    return f"from {print_instant(since)}" + (f" until {print_instant(until)}" if until else "")


def _scheme(one: Scheme) -> str:
    return "; ".join(f"{level}: {', '.join(sorted(one.levels[level]))}" for level in sorted(one.levels))
