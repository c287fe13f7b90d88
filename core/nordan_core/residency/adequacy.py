"""Adequacy that depends on the recipient: a decision that covers some organisations only, or one without a territory.

Such a decision names an attestation, which entities hold from one instant until another. A place counts as ADEQUATE by
it when *every* entity that runs the place holds one that does, at the instant of the judgement. Who is not described,
or of whom no attestation is recorded, does not: what is unknown is denied. A reader of logs is a person and holds none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from nordan_core.residency.entities import Entity
from nordan_core.residency.hints import listed
from nordan_core.residency.places import ADEQUATE, Adequacy, Atlas
from nordan_core.residency.sets import SetExpression

Recipients = Iterable[Entity | None]
"""Those who run a place; None for one that is not described."""


def allows(expression: SetExpression, territory: str, recipients: Recipients, atlas: Atlas, instant: datetime) -> bool:
    """Return whether a place that these entities run is inside an expression at `instant`."""
    if territory in expression.expand(atlas, instant):
        return True
    if ADEQUATE not in expression.names() or not is_adequate(territory, recipients, atlas, instant):
        return False
    return territory in expression.expand(atlas, instant, adequate=frozenset([territory]))


def is_adequate(territory: str, recipients: Recipients, atlas: Atlas, instant: datetime) -> bool:
    """Return whether every entity that runs a place there is one that an adequacy decision in force covers."""
    wanted = {one.attestation for one in atlas.conditional(territory, instant)}
    who = list(recipients)
    return bool(wanted and who) and all(entity is not None and _holds(entity, wanted, instant) for entity in who)


def edges(entities: Iterable[Entity]) -> Iterator[datetime | None]:
    """Yield the instants at which an attestation of one of the entities begins or ends."""
    for entity in entities:
        for one in entity.attestations:
            yield one.valid_from
            yield one.valid_until


def advice(expression: SetExpression, territory: str, atlas: Atlas, instant: datetime) -> str:
    """Return what would make a place there adequate, for a refusal's sentence; nothing where nothing would."""
    here: list[Adequacy] = [one for one in atlas.conditional(territory, instant) if one.territory == territory]
    if ADEQUATE not in expression.names() or not here:
        return ""
    terms = listed(str(one.condition) for one in here)
    return f"; there {ADEQUATE} covers {terms} alone, and not all who run the place are recorded as such"


def _holds(entity: Entity, wanted: set[str | None], instant: datetime) -> bool:
    return any(one.name in wanted and one.holds_at(instant) for one in entity.attestations)
