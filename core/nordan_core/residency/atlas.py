"""Reads the atlas file: strict, because an atlas is law for the judge.

`nordan_core.atlas.loader` brings the packaged bytes; the offline verifier brings those that a certificate pins.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import ADEQUATE, Adequacy, Atlas, Group, Membership, Scheme, Territory, dated_group
from nordan_core.residency.reading import read_instant, read_list, read_mapping, read_text

__all__ = ["Adequacy", "Atlas", "Group", "Membership", "Scheme", "Territory", "parse_atlas"]

FORMAT = "nordan-atlas/1"
_ATTESTATION = re.compile(r"[a-z][a-z0-9-]{0,62}")
#: Codes and names are compared as they are written, so no letter may look like another.
_CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{0,5}")
_GROUP = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,62}")
_FIELDS = (
    *("format", "version", "notes", "territories", "aliases", "unassigned"),
    *("groups", "adequacy", "certifications"),
)


def parse_atlas(data: bytes) -> Atlas:
    """Return the atlas that a file's bytes hold; its digest is that of the bytes themselves.

    Raises:
        PolicyError: when the file is not an atlas, or names a territory or level that it does not define.
    """
    document = _document(data)
    territories = _territories(document.get("territories"))
    adequacy = _adequacy(document.get("adequacy"), territories)
    groups = _groups(document.get("groups"), territories)
    groups[ADEQUATE] = _adequate_group(adequacy)
    if clash := sorted(groups.keys() & territories.keys()):
        raise PolicyError("groups", f"{', '.join(clash)} would be a group and a territory at once")
    return Atlas(
        version=read_text(document.get("version"), "version"),
        digest=hashlib.sha256(data).hexdigest(),
        territories=MappingProxyType(territories),
        dependents=MappingProxyType(_dependents(territories)),
        groups=MappingProxyType(groups),
        adequacy=adequacy,
        schemes=MappingProxyType(_schemes(document.get("certifications"))),
        aliases=MappingProxyType(_aliases(document.get("aliases"), territories)),
        unassigned=MappingProxyType(_unassigned(document.get("unassigned"), territories)),
    )


def _document(data: bytes) -> Mapping[str, object]:
    try:
        loaded: object = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:  # also a number, or brackets, beyond what is read
        raise PolicyError("", f"the atlas is not JSON: {error}") from None
    document = read_mapping(loaded, "", _FIELDS)
    if document.get("format") != FORMAT:
        raise PolicyError("format", f"expected {FORMAT!r}, found {document.get('format')!r}")
    return document


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise PolicyError("", f"the atlas says a key twice, among {', '.join(key for key, _ in pairs)}")
    return seen


def _territories(value: object) -> dict[str, Territory]:
    entries = read_mapping(value, "territories")
    territories = {code: _territory(code, entry) for code, entry in entries.items()}
    for territory in territories.values():
        if territory.parent is not None and _known(territory.parent, territories, territory.code).parent is not None:
            raise PolicyError(f"territories.{territory.code}.parent", f"{territory.parent} is not a state itself")
    return territories


def _dependents(territories: Mapping[str, Territory]) -> dict[str, frozenset[str]]:
    parents = {one.parent for one in territories.values() if one.parent}
    return {parent: frozenset(code for code, one in territories.items() if one.parent == parent) for parent in parents}


def _territory(code: str, value: object) -> Territory:
    if not _CODE.fullmatch(code):
        raise PolicyError("territories", f"{code[:80]!a} is no code such as 'FR' or 'PT-20'")
    entry = read_mapping(value, f"territories.{code}", ("name", "alpha3", "parent", "note"))
    texts = {key: read_text(item, f"territories.{code}.{key}") for key, item in entry.items()}
    if "name" not in texts:
        raise PolicyError(f"territories.{code}.name", "the name is missing")
    return Territory(code, texts["name"], texts.get("parent"), texts.get("alpha3"), texts.get("note", ""))


def _known(code: object, territories: Mapping[str, Territory], field: str) -> Territory:
    if not isinstance(code, str) or code not in territories:
        raise PolicyError(field, f"{code!r} is not among the atlas's territories")
    return territories[code]


def _groups(value: object, territories: Mapping[str, Territory]) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    for name, content in read_mapping(value, "groups").items():
        field = f"groups.{name}"
        if not _GROUP.fullmatch(name):
            raise PolicyError("groups", f"{name[:80]!a} is no name such as 'EEA'")
        if name == ADEQUATE:
            raise PolicyError(field, f"{ADEQUATE} follows from 'adequacy' and cannot be listed")
        entry = read_mapping(content, field, ("title", "members"))
        members = [
            Membership(
                *_dated(read_mapping(member, field, ("territory", "from", "until", "source")), territories, field)
            )
            for member in read_list(entry.get("members"), f"{field}.members")
        ]
        groups[name] = dated_group(name, read_text(entry.get("title"), f"{field}.title"), _apart(members, field))
    return groups


def _dated(
    entry: Mapping[str, object], territories: Mapping[str, Territory], field: str
) -> tuple[str, datetime, datetime | None, str]:
    code = _known(entry.get("territory"), territories, f"{field}.territory").code
    return code, *_times(entry, f"{field}.{code}")


def _times(entry: Mapping[str, object], field: str) -> tuple[datetime, datetime | None, str]:
    since = read_instant(entry.get("from"), f"{field}.from")
    until = read_instant(entry["until"], f"{field}.until") if "until" in entry else None
    if until is not None and until <= since:
        raise PolicyError(f"{field}.until", "it ends before it begins")
    return since, until, read_text(entry.get("source"), f"{field}.source")


def _apart(members: Sequence[Membership], field: str) -> tuple[Membership, ...]:
    ordered = sorted(members, key=lambda one: (one.territory, one.valid_from))
    for earlier, later in pairwise(ordered):
        overlaps = earlier.valid_until is None or later.valid_from < earlier.valid_until
        if earlier.territory == later.territory and overlaps:
            raise PolicyError(f"{field}.{later.territory}", "two memberships overlap")
    return tuple(ordered)


def _adequacy(value: object, territories: Mapping[str, Territory]) -> tuple[Adequacy, ...]:
    return tuple(_decision(entry, territories) for entry in read_list(value, "adequacy"))


def _decision(value: object, territories: Mapping[str, Territory]) -> Adequacy:
    known = ("territory", "organisation", "from", "until", "condition", "attestation", "source")
    entry = read_mapping(value, "adequacy", known)
    texts = {
        key: read_text(entry[key], f"adequacy.{key}")
        for key in ("organisation", "condition", "attestation")
        if key in entry
    }
    if ("organisation" in entry) == ("territory" in entry):
        raise PolicyError("adequacy", "a decision is about a territory, or about an organisation without one")
    if ("attestation" in entry) > ("condition" in entry) or ("organisation" in entry) > ("attestation" in entry):
        raise PolicyError("adequacy", "a decision about some recipients needs condition and attestation")
    if not _ATTESTATION.fullmatch(texts.get("attestation", "a")):
        raise PolicyError("adequacy.attestation", f"{texts['attestation'][:80]!r} is no name such as 'dpf'")
    code = _known(entry["territory"], territories, "adequacy.territory").code if "territory" in entry else None
    since, until, source = _times(entry, f"adequacy.{code or texts['organisation']}")
    return Adequacy(code, since, until, source, **texts)


def _adequate_group(adequacy: tuple[Adequacy, ...]) -> Group:
    # A condition is about the recipient, which a set of places cannot ask: `adequacy` does, at the judgement.
    members = [
        Membership(one.territory, one.valid_from, one.valid_until, one.source)
        for one in adequacy
        if one.condition is None and one.territory is not None
    ]
    return dated_group(ADEQUATE, "Territories with an unconditional adequacy decision", _apart(members, "adequacy"))


def _schemes(value: object) -> dict[str, Scheme]:
    return {name: _scheme(name, entry) for name, entry in read_mapping(value, "certifications").items()}


def _scheme(name: str, value: object) -> Scheme:
    field = f"certifications.{name}"
    entry = read_mapping(value, field, ("title", "levels", "source"))
    below = {
        level: [read_text(lower, f"{field}.levels.{level}") for lower in read_list(lowers, f"{field}.levels.{level}")]
        for level, lowers in read_mapping(entry.get("levels"), f"{field}.levels").items()
    }
    levels = {level: _closure(level, below, field) for level in below}
    title, source = (read_text(entry.get(key), f"{field}.{key}") for key in ("title", "source"))
    return Scheme(name, title, MappingProxyType(levels), source)


def _closure(level: str, below: Mapping[str, Sequence[str]], field: str) -> frozenset[str]:
    found: set[str] = set()
    waiting = [level]
    while waiting:
        one = waiting.pop()
        if one not in below:
            raise PolicyError(f"{field}.levels", f"{one!r} is included but not defined")
        if one not in found:
            found.add(one)
            waiting.extend(below[one])
    return frozenset(found)


def _aliases(value: object, territories: Mapping[str, Territory]) -> dict[str, str]:
    return {
        alias: _known(code, territories, f"aliases.{alias}").code
        for alias, code in read_mapping(value, "aliases").items()
        if _unused(alias, territories, "aliases")
    }


def _unassigned(value: object, territories: Mapping[str, Territory]) -> dict[str, str]:
    return {
        code: read_text(sentence, f"unassigned.{code}")
        for code, sentence in read_mapping(value, "unassigned").items()
        if _unused(code, territories, "unassigned")
    }


def _unused(code: str, territories: Mapping[str, Territory], field: str) -> bool:
    if code in territories:
        raise PolicyError(f"{field}.{code}", "it is a territory code itself")
    return True
