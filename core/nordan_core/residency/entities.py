"""Legal persons: where they sit, where they are present, who owns them. Registered by admins, judged by `exposure`.

A fact that is None was never recorded, and what is not recorded is unknown; an empty set says that there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.names import read_name
from nordan_core.residency.places import Atlas
from nordan_core.residency.reading import (
    print_instant,
    print_percent,
    read_flag,
    read_instant,
    read_list,
    read_mapping,
    read_percent,
    read_word,
)

#: Words that a document may use for control without a majority of shares.
CONTROL_WORDS = ("veto", "board_majority")
WHOLE = 1_000_000
"""Shares are worked with in millionths of the whole, so that sums and limits are exact."""
ShareKind = Literal["capital", "votes"]
KINDS_OF_SHARE: tuple[ShareKind, ...] = ("capital", "votes")


@dataclass(frozen=True, slots=True)
class Ownership:
    """One owner's hold on an entity."""

    owner: str
    capital_percent: Decimal | int
    votes_percent: Decimal | int
    control: bool = False
    """A recorded veto or board majority, whatever the shares."""
    capital: int = field(init=False, compare=False, repr=False)
    """The share of capital in millionths."""
    votes: int = field(init=False, compare=False, repr=False)
    """The share of votes in millionths."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "capital", int(self.capital_percent * (WHOLE // 100)))
        object.__setattr__(self, "votes", int(self.votes_percent * (WHOLE // 100)))

    def share(self, kind: ShareKind) -> int:
        """Return the share of capital or of votes in millionths."""
        return self.capital if kind == "capital" else self.votes


@dataclass(frozen=True, slots=True)
class Attestation:
    """That an adequacy decision covers an entity, such as a company certified under a framework."""

    name: str
    valid_from: datetime | None = None
    """None when it has always counted."""
    valid_until: datetime | None = None
    """The first instant at which it no longer counts; None where it has no end."""

    def holds_at(self, instant: datetime) -> bool:
        """Return whether it counts at `instant`."""
        begun = self.valid_from is None or self.valid_from <= instant
        return begun and (self.valid_until is None or instant < self.valid_until)


@dataclass(frozen=True, slots=True)
class Entity:
    """A legal person."""

    name: str
    seat: str | None
    """Territory of its registered seat; None when unknown."""
    presences: frozenset[str] | None = None
    """Territories where it has a branch or staff with access. None when never recorded, which denies."""
    owners: tuple[Ownership, ...] | None = None
    """Its owners. Empty for who can have none: a person, a state, a foundation. None when never recorded."""
    attestations: tuple[Attestation, ...] = ()
    """By which adequacy decisions it is covered; what is not recorded does not count."""

    def __post_init__(self) -> None:
        for kind in KINDS_OF_SHARE:
            if sum(one.share(kind) for one in self.owners or ()) > WHOLE:
                raise PolicyError("owners", f"the owners of {self.name} hold more than 100 % of its {kind}")
        named = [one.owner for one in self.owners or ()]
        if len(named) != len(set(named)):
            raise PolicyError("owners", f"{self.name} names an owner twice; give each owner's whole share once")


def parse_entity(document: Mapping[str, object], atlas: Atlas) -> Entity:
    """Return the entity that a document describes; `votes_percent` left out follows the capital.

    Raises:
        PolicyError: for an unknown territory, shares over 100 %, or an unknown field.
    """
    entry = read_mapping(document, "", ("name", "seat", "presences", "owners", "attestations"))
    seat, presences, owners = entry.get("seat"), entry.get("presences"), entry.get("owners")
    return Entity(
        name=read_name(entry.get("name"), "name"),
        seat=None if seat is None else atlas.parse_territory(seat, "seat"),
        presences=None if presences is None else read_territories(presences, atlas, "presences"),
        owners=None if owners is None else _read_owners(owners),
        attestations=_read_attestations(entry.get("attestations", ()), atlas),
    )


def entity_document(entity: Entity) -> dict[str, object]:
    """Return the one document form of an entity."""
    return {
        "name": entity.name,
        "seat": entity.seat,
        "presences": None if entity.presences is None else sorted(entity.presences),
        "owners": None if entity.owners is None else [_owner_document(one) for one in _ordered(entity.owners)],
        # Only where there are some: facts that never had any keep their digest.
        **({"attestations": [_attestation_document(one) for one in _sorted(entity)]} if entity.attestations else {}),
    }


def parse_entities(value: object, atlas: Atlas, field: str) -> dict[str, Entity]:
    """Return a list of entities by name."""
    entities: dict[str, Entity] = {}
    for place, entry in enumerate(read_list(value, field)):
        try:
            entity = parse_entity(read_mapping(entry, ""), atlas)
        except PolicyError as error:
            raise error.under(f"{field}.{place}") from None
        if entity.name in entities:
            raise PolicyError(f"{field}.{place}.name", f"{entity.name} is described twice")
        entities[entity.name] = entity
    return entities


def entities_document(entities: Mapping[str, Entity]) -> list[dict[str, object]]:
    """Return the one document form of several entities: by name."""
    return [entity_document(entities[name]) for name in sorted(entities)]


def read_territories(value: object, atlas: Atlas, field: str) -> frozenset[str]:
    """Return a list of territories as a set."""
    entries = enumerate(read_list(value, field))
    return frozenset(atlas.parse_territory(code, f"{field}.{place}") for place, code in entries)


def _read_owners(value: object) -> tuple[Ownership, ...]:
    entries = enumerate(read_list(value, "owners"))
    return _ordered(tuple(_read_owner(entry, f"owners.{place}") for place, entry in entries))


def _read_owner(value: object, field: str) -> Ownership:
    entry = read_mapping(value, field, ("owner", "capital_percent", "votes_percent", "control"))
    capital = read_percent(entry.get("capital_percent"), f"{field}.capital_percent")
    votes = read_percent(entry.get("votes_percent", capital), f"{field}.votes_percent")
    return Ownership(
        read_name(entry.get("owner"), f"{field}.owner"),
        capital,
        votes,
        control=_read_control(entry.get("control", False), f"{field}.control"),
    )


def _read_control(value: object, field: str) -> bool:
    if isinstance(value, str) and value in CONTROL_WORDS:
        return True
    try:
        return read_flag(value, field)
    except PolicyError:
        raise PolicyError(field, f"expected true, false, {' or '.join(CONTROL_WORDS)}") from None


def _read_attestations(value: object, atlas: Atlas) -> tuple[Attestation, ...]:
    entries = enumerate(read_list(value, "attestations"))
    return tuple(_read_attestation(entry, f"attestations.{place}", atlas) for place, entry in entries)


def _read_attestation(value: object, field: str, atlas: Atlas) -> Attestation:
    entry = read_mapping(value, field, ("name", "valid_from", "valid_until"))
    since, until = entry.get("valid_from"), entry.get("valid_until")
    return Attestation(
        read_word(entry.get("name"), f"{field}.name", tuple(sorted(atlas.attestations))),
        None if since is None else read_instant(since, f"{field}.valid_from"),
        None if until is None else read_instant(until, f"{field}.valid_until"),
    )


def _attestation_document(one: Attestation) -> dict[str, object]:
    return {
        "name": one.name,
        "valid_from": None if one.valid_from is None else print_instant(one.valid_from),
        "valid_until": None if one.valid_until is None else print_instant(one.valid_until),
    }


def _sorted(entity: Entity) -> list[Attestation]:
    return sorted(entity.attestations, key=lambda one: str(_attestation_document(one)))


def _ordered(owners: tuple[Ownership, ...]) -> tuple[Ownership, ...]:
    return tuple(sorted(owners, key=lambda one: one.owner))


def _owner_document(one: Ownership) -> dict[str, object]:
    return {
        "owner": one.owner,
        "capital_percent": print_percent(Decimal(one.capital_percent)),
        "votes_percent": print_percent(Decimal(one.votes_percent)),
        "control": one.control,
    }
