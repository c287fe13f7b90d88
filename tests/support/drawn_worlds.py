"""Drawn documents of policies, facts and entities, in which lawful and unlawful are both common.

Everything comes from one `random.Random`, so a seed names a case. `support.agreement` judges them twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Document = dict[str, Any]

GROUPS = ("EU", "EEA", "EFTA", "ADEQUATE")
STATES = ("FR", "SE", "DE", "NO", "CH", "GB", "US", "CN", "DK", "NL", "JP")
DEPENDENCIES = ("GP", "PR", "HK", "GL", "FO", "AX", "JE", "PT-20", "NC", "AW")
NAMES = ("ash", "birch", "cedar", "dogwood", "elm", "fir")
GHOST = "ghost"
SHARES = (1, 5, 10, 12, 20, 23, 24, 25, 30, 33, 39, 40, 49, 50, 51, 60, 75, 76, 80, 100)
INSTANTS = (
    *("2019-06-01T00:00:00Z", "2020-01-31T23:59:59Z", "2020-02-01T00:00:00Z", "2021-06-28T00:00:00Z"),
    *("2026-11-22T09:30:00Z", "2026-11-22T09:30:01Z", "2027-03-01T00:00:00Z", "2027-06-01T00:00:00Z"),
    *("2029-12-31T23:59:59Z", "2031-12-26T23:59:59Z", "2031-12-27T00:00:00Z"),
)
TODAY = "2026-11-22T09:30:00Z"
ENDS = ("2026-11-22T09:30:00Z", "2027-03-01", "2027-06-01T00:00:00Z", "2030-01-01T00:00:00Z")
PLACES = ("process", "store", "describe", "access", "key")
FACETS = (
    *PLACES,
    *("forbid_exposure", "certifications", "seal_min", "ownership_max", "encryption", "compute", "tenancy"),
    *("evidence", "class", "egress", "valid_until", "non_derogable"),
)
SCHEMES = {"c5": ("type1", "type2"), "acn": ("QC1", "QC2", "QI1", "QI2"), "hds": ("v1", "v2")}


@dataclass(frozen=True, slots=True)
class World:
    """A pool and a control plane, as their facts are stored."""

    pool: Document
    plane: Document


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a world: layers of (kind, policy), when, and who would read."""

    layers: tuple[tuple[str, Document], ...]
    has_content: bool
    instant: str
    reader: str | None


def draw_world(draw: Random) -> World:
    """Return a world; most of its pools are good but for a fact or two."""
    entities = [_entity(draw, name) for name in NAMES[: draw.randint(2, len(NAMES))]]
    if draw.random() < 0.02:
        entities = entities[1:]
    named = [entity["name"] for entity in entities]
    return World(_pool(draw, named, entities), _plane(draw, named, entities))


def draw_question(draw: Random) -> Question:
    """Return a question: most often floors state the five places, as those of real projects do."""
    layers: list[tuple[str, Document]] = []
    if draw.random() < 0.75:
        floor = {"class": _level(draw, "class"), "residency": _wide(draw)}
        layers.append(("project", {**floor, **draw_policy(draw, most=1, without=(*PLACES, "class"), is_owner=False)}))
    if draw.random() < 0.2:
        layers.append(("organisation", draw_policy(draw, most=2, is_owner=False)))
    owners = draw.choices((0, 1, 2), (5, 3, 2))[0]
    for _ in range(owners):
        kind = "input" if draw.random() < 0.7 else "parent"
        layers.append((kind, draw_policy(draw, most=3, is_owner=True)))
    if draw.random() < 0.7:
        layers.append(("job", draw_policy(draw, most=3, is_owner=False)))
    instant = TODAY if draw.random() < 0.6 else draw.choice(INSTANTS)
    reader = None if draw.random() < 0.3 else draw.choice(STATES + DEPENDENCIES)
    return Question(tuple(layers), owners > 0 or draw.random() < 0.4, instant, reader)


def draw_policy(draw: Random, *, most: int, is_owner: bool, without: tuple[str, ...] = ()) -> Document:
    """Return a policy that states up to `most` facets; only an owner's may waive egress."""
    facets = [facet for facet in FACETS if facet not in without]
    stated = draw.sample(facets, draw.randint(0, most))
    policy = {facet: _value(draw, facet) for facet in stated}
    if "egress" in policy and is_owner and draw.random() < 0.5:
        policy["egress"] = "unenforced"
    if not without and draw.random() < 0.1:
        policy = {facet: value for facet, value in policy.items() if facet not in PLACES}
        policy["residency"] = _places(draw)
    return policy


def _value(draw: Random, facet: str) -> Any:
    if facet in PLACES:
        unions = draw.choices((0, 2, 3), (6, 2, 1))[0]
        return {"all_of": [_places(draw) for _ in range(unions)]} if unions else _places(draw)
    if facet in LEVELS:
        return _level(draw, facet)
    return OTHERS[facet](draw)


def _places(draw: Random) -> list[str]:
    if draw.random() < 0.04:
        return []
    wide = [draw.choice(GROUPS)] if draw.random() < 0.75 else []
    wide += ["EEA", *STATES] if draw.random() < 0.4 else []
    narrow = draw.sample(STATES[:6] if draw.random() < 0.8 else STATES + DEPENDENCIES, draw.randint(0, 3))
    return wide + narrow or ["FR", "SE"]


def _wide(draw: Random) -> list[str]:
    everywhere = ["EEA", "ADEQUATE", *STATES, *DEPENDENCIES]
    return draw.choice((everywhere, everywhere, ["EEA"], ["EU", "ADEQUATE"], ["FR", "SE", "DE"], ["EEA", "CH", "US"]))


def _forbidden(draw: Random) -> list[str]:
    return draw.sample(("US", "CN", "GB", "DK", "FR", "GP", "NL", "NO"), draw.choices((0, 1, 2, 3), (1, 6, 2, 1))[0])


def _asked_schemes(draw: Random) -> Document:
    asked: Document = {}
    for scheme in draw.sample(sorted(SCHEMES), draw.choices((0, 1, 2), (1, 8, 1))[0]):
        levels = SCHEMES[scheme]
        asked[scheme] = draw.choice(levels) if draw.random() < 0.8 else draw.sample(levels, draw.randint(1, 2))
    return asked


def _limits(draw: Random) -> Document:
    limits: Document = {}
    for group in draw.sample(("EU", "EEA", "FR", "ADEQUATE"), draw.choices((0, 1, 2), (1, 8, 2))[0]):
        both = {"single": draw.choice((0, 10, 24, 50, 60)), "collective": draw.choice((5, 24, 39, 60, 80))}
        kept = draw.choice((("single",), ("collective",), ("single", "collective")))
        limits[group] = {limit: both[limit] for limit in kept}
    return limits


def _seal(draw: Random) -> list[int]:
    return [draw.choices((0, 1, 2, 3), (6, 3, 2, 1))[0] for _ in range(8)]


LEVELS = {
    "encryption": ("none", "rest", "byok", "hyok"),
    "compute": ("none", "tee", "tee_gpu"),
    "tenancy": ("shared", "dedicated", "single"),
    "evidence": ("E0", "E1", "E2", "E3", "E4"),
    "class": ("public", "internal", "confidential", "restricted"),
}
OTHERS: dict[str, Callable[[Random], Any]] = {
    "forbid_exposure": _forbidden,
    "certifications": _asked_schemes,
    "seal_min": _seal,
    "ownership_max": _limits,
    "egress": lambda draw: draw.sample(("hub", "pip", "models"), draw.randint(0, 2)),
    "valid_until": lambda draw: draw.choice((*ENDS, *INSTANTS)),
    "non_derogable": lambda draw: draw.sample(FACETS, draw.randint(0, 3)),
}


def _level(draw: Random, facet: str) -> str:
    return draw.choice(LEVELS[facet])


def _seat(draw: Random) -> str | None:
    return None if draw.random() < 0.04 else draw.choice(("FR", "FR", "SE", "DE", *STATES, *DEPENDENCIES[:5]))


def _entity(draw: Random, name: str) -> Document:
    presences = None if draw.random() < 0.04 else draw.sample(STATES + DEPENDENCIES, draw.choices((0, 1), (4, 1))[0])
    entity = {"name": name, "seat": _seat(draw), "presences": presences, "owners": _owners(draw)}
    attested = [_attestation(draw) for _ in range(draw.choices((0, 1, 2), (3, 2, 1))[0])]
    return {**entity, **({"attestations": attested} if attested else {})}


def _attestation(draw: Random) -> Document:
    return {
        "name": draw.choice(("dpf", "dpf", "pipeda", "epo")),
        "valid_from": None if draw.random() < 0.7 else draw.choice(INSTANTS),
        "valid_until": None if draw.random() < 0.5 else draw.choice((*ENDS, *INSTANTS)),
    }


def _owners(draw: Random) -> list[Document] | None:
    if draw.random() < 0.45:
        return None if draw.random() < 0.1 else []
    left, owners = {"capital": 100, "votes": 100}, []
    for owner in draw.sample((*NAMES, GHOST), draw.randint(1, 3)):
        if owner == GHOST and draw.random() < 0.7:
            continue
        is_rest = draw.random() < 0.5
        capital = left["capital"] if is_rest else min(draw.choice(SHARES), left["capital"])
        votes = min(capital if draw.random() < 0.8 else draw.choice(SHARES), left["votes"])
        left = {"capital": left["capital"] - capital, "votes": left["votes"] - votes}
        owners.append(_share(owner, capital, votes, has_say=draw.random() < 0.08))
    return owners


def _share(owner: str, capital: int, votes: int, *, has_say: bool) -> Document:
    return {"owner": owner, "capital_percent": str(capital), "votes_percent": str(votes), "control": has_say}


def _certificate(draw: Random) -> Document:
    scheme = draw.choice(sorted(SCHEMES))
    return {
        "scheme": scheme,
        "level": draw.choice(SCHEMES[scheme]),
        "scope": draw.choice((["compute", "storage"], ["compute", "storage"], ["compute"], ["storage"], ["keys"])),
        "valid_from": None if draw.random() < 0.7 else draw.choice(INSTANTS),
        "valid_until": draw.choice((*ENDS, "2032-01-01T00:00:00Z")),
    }


def _endpoints(draw: Random, territory: str, named: list[str]) -> list[Document]:
    return [
        {
            "kind": kind,
            "territory": territory if draw.random() < 0.85 else draw.choice(STATES),
            "operator": named[0] if draw.random() < 0.9 else draw.choice((*named, GHOST)),
        }
        for kind in ("store", "log", "key", "store")
        if draw.random() < (0.2 if kind == "store" and draw.random() < 0.5 else 0.95)
    ]


def _pool(draw: Random, named: list[str], entities: list[Document]) -> Document:
    territory = draw.choice(("FR", "FR", "SE", "DE", "NO", "CH", "GB", "US", "CA", *DEPENDENCIES[:4]))
    isolates = draw.random() < 0.8
    return {
        "pool": "pool",
        "region": "region",
        "territory": territory,
        "access_territories": None
        if draw.random() < 0.05
        else draw.sample(STATES[:5], draw.choices((0, 1, 2), (1, 12, 4))[0]),
        "provider": named[0] if draw.random() < 0.8 else draw.choice(named),
        "operator": named[0] if draw.random() < 0.95 else GHOST,
        "host": None if draw.random() < 0.6 else draw.choice(named),
        "endpoints": _endpoints(draw, territory, named),
        "certifications": [_certificate(draw) for _ in range(draw.randint(0, 4))],
        "seal": None if draw.random() < 0.1 else [draw.choice((1, 2, 3, 4, 4)) for _ in range(8)],
        "tenancy": draw.sample(LEVELS["tenancy"], draw.randint(0, 3)),
        "encryption": None if draw.random() < 0.1 else _level(draw, "encryption"),
        "compute": None if draw.random() < 0.1 else _level(draw, "compute"),
        "evidence": _level(draw, "evidence"),
        "enforces": [*(["isolation"] if isolates else []), *(["egress"] if draw.random() < 0.7 else [])],
        "facts_version": 1,
        "valid_until": "2033-01-01T00:00:00Z" if draw.random() < 0.9 else draw.choice(ENDS),
        "entities": entities,
    }


def _plane(draw: Random, named: list[str], entities: list[Document]) -> Document:
    operator = draw.choice(named) if draw.random() < 0.95 else GHOST
    return {"territory": draw.choice(("FR", "SE", "CH", "US")), "operator": operator, "entities": entities}
