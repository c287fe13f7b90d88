"""World documents: what an operator tells a control plane about companies, data centres and pools.

`docs/reference/world.md` explains every field. Form is checked by `parse_world`, codes by `check_codes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from nordan_core.documents import Name
from nordan_core.domain.errors import Invalid
from nordan_core.domain.money import Price
from nordan_core.domain.places import ExecutorKind
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facts import Service
from nordan_core.residency.places import Atlas
from nordan_core.residency.reading import read_percent, read_word

Territory = Annotated[str, Field(min_length=2, max_length=6)]
_LOCODE = re.compile(r"[A-Z]{2}[A-Z2-9]{3}")


def _percent(value: float) -> float:
    try:
        read_percent(value, "")
    except PolicyError as error:
        raise ValueError(error.message) from None
    return value


def _price(value: Decimal) -> Decimal:
    Price.per_gpu_hour(value)
    return value


def _instant(value: object) -> object:
    """Read a bare date as the end of that day, since `valid until the 31st` includes the 31st."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, 23, 59, 59, tzinfo=UTC)
    return value


def _first_moment(value: object) -> object:
    """Read a bare date as the beginning of that day, as policies and the atlas do."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        value = date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


#: With as many decimals as facts are read with: a finer share would be lost, and be another where it is read back.
Percent = Annotated[float, Field(ge=0, le=100), AfterValidator(_percent)]
Since = Annotated[AwareDatetime, BeforeValidator(_first_moment)]
Until = Annotated[AwareDatetime, BeforeValidator(_instant)]
#: Nodes of one pool.
MAX_NODES = 10_000
#: Nodes beyond these do not exist, and the store's columns end there.
_MAX_CPUS = 1 << 20
_MAX_MEMORY_MIB = 1 << 30


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def stored(self) -> dict[str, Any]:  # Any: JSON
        """Return the document as it is kept."""
        return self.model_dump(mode="json")


class ControlPlaneDocument(_Document):
    """Where the control plane itself stands."""

    kind: Literal["ControlPlane"]
    territory: Territory
    operator: Name


class OwnerDocument(_Document):
    """One holding in an entity."""

    owner: Name
    capital_percent: Percent = 0.0
    votes_percent: Percent = 0.0
    control: Literal["none", "veto", "board_majority"] = "none"


class AttestationDocument(_Document):
    """That an adequacy decision with a condition covers an entity."""

    name: Annotated[str, Field(max_length=63)]
    valid_from: Since | None = None
    valid_until: Until | None = None


class EntityDocument(_Document):
    """A legal person."""

    kind: Literal["Entity"]
    name: Name
    legal_name: Annotated[str, Field(max_length=200)] = ""
    seat: Territory
    presences: tuple[Territory, ...] | None = None
    """None: never recorded, so unknown. An empty list says that there are none."""
    owners: tuple[OwnerDocument, ...] | None = None
    """None: never recorded, so unknown. An empty list says that it can have none: a person, a state, a foundation."""
    attestations: tuple[AttestationDocument, ...] = ()
    """By which adequacy decisions it is covered; what is not recorded does not count."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> EntityDocument:
        for share in ("capital_percent", "votes_percent"):
            if sum(getattr(one, share) for one in self.owners or ()) > 100.0 + 1e-9:
                raise ValueError(f"owners hold more than 100 in {share}")
        named = [one.owner for one in self.owners or ()]
        if self.name in named:
            raise ValueError(f"{self.name} cannot own itself; leave its own shares out")
        if len(named) != len(set(named)):
            raise ValueError("an owner is named twice; give each owner's whole share once")
        return self


class EndpointDocument(_Document):
    """A store, log or key endpoint that stands or is run elsewhere than its region."""

    territory: Territory
    operator: Name


class EndpointsDocument(_Document):
    """The region's endpoints; its own where absent."""

    store: EndpointDocument | None = None
    log: EndpointDocument | None = None
    key: EndpointDocument | None = None


class RegionDocument(_Document):
    """A data centre under one operator."""

    kind: Literal["Region"]
    name: Name
    territory: Territory
    operator: Name
    host: Name | None = None
    locode: str = ""
    grid_zone: Annotated[str, Field(max_length=32)] = ""
    pue: Annotated[float, Field(ge=1.0, le=3.0)] = 1.0
    executor: ExecutorKind = ExecutorKind.LOCAL
    evidence: Literal["E0", "E1", "E2", "E3", "E4"] = "E0"
    access_territories: tuple[Territory, ...] = ()
    endpoints: EndpointsDocument = EndpointsDocument()

    @model_validator(mode="after")
    def _locode_is_in_the_territory(self) -> RegionDocument:
        if self.locode and not _LOCODE.fullmatch(self.locode):
            raise ValueError(f"locode {self.locode!r} is not a UN/LOCODE such as FRPAR")
        if self.locode and self.locode[:2] != self.territory[:2]:
            raise ValueError(f"locode {self.locode} is not in {self.territory}")
        return self


class CertificationDocument(_Document):
    """A certificate that a pool's provider holds."""

    scheme: str
    level: str
    scope: Annotated[tuple[Service, ...], Field(min_length=1)]
    valid_from: Since | None = None
    valid_until: Until
    issuer: Annotated[str, Field(max_length=200)] = ""


class PoolDocument(_Document):
    """Homogeneous GPU nodes."""

    kind: Literal["Pool"]
    name: Name
    region: Name
    provider: Name
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{1,64}$")]
    gpu_memory_mib: Annotated[int, Field(ge=1, le=_MAX_MEMORY_MIB)]
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)] | None = None
    """How many there are. Where a cluster names the nodes: how many at most, and unset means all that it has."""
    gpus_per_node: Annotated[int, Field(ge=1, le=32)]
    cpus: Annotated[int, Field(ge=1, le=_MAX_CPUS)]
    memory_mib: Annotated[int, Field(ge=1, le=_MAX_MEMORY_MIB)]
    price_eur_per_gpu_h: Annotated[Decimal, Field(ge=0, le=10_000), AfterValidator(_price)]
    power_w_per_gpu: Annotated[int, Field(ge=0, le=5000)] = 700
    certifications: tuple[CertificationDocument, ...] = ()
    seal: Annotated[tuple[Annotated[int, Field(ge=0, le=4)], ...], Field(min_length=8, max_length=8)] | None = None
    tenancy: Literal["shared", "dedicated", "single"] = "shared"
    encryption: Literal["none", "rest", "byok", "hyok"] = "none"
    compute: Literal["none", "tee", "tee_gpu"] = "none"
    enforces: tuple[Literal["egress", "isolation"], ...] = ()
    facts_valid_until: Until
    has_made_up_gpus: bool = True


class OrganisationDocument(_Document):
    """A tenant."""

    kind: Literal["Organisation"]
    name: Name
    floor: dict[str, Any] = Field(default_factory=dict)  # Any: the residency package checks it


class ProjectDocument(_Document):
    """A tenant's workspace."""

    kind: Literal["Project"]
    name: Name
    organisation: Name
    floor: dict[str, Any] | None = None  # Any: as above


WorldDocument = Annotated[
    ControlPlaneDocument | EntityDocument | RegionDocument | PoolDocument | OrganisationDocument | ProjectDocument,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[WorldDocument] = TypeAdapter(WorldDocument)
KINDS = ("Entity", "ControlPlane", "Region", "Pool", "Organisation", "Project")


def check_codes(document: Mapping[str, Any], atlas: Atlas, prefix: str) -> None:  # Any: JSON
    """Check every code of a document, in the form in which it is kept: territories, certification schemes and levels.

    Raises:
        PolicyError: for the first unknown one, with what was probably meant.
    """
    for field, code in _territories(document):
        atlas.parse_territory(code, f"{prefix}.{field}".strip("."))
    # Documents of older versions know no attestations, and most kinds neither them nor certifications.
    for attested in document.get("attestations", ()):
        read_word(attested["name"], f"{prefix}.attestations.name".strip("."), tuple(sorted(atlas.attestations)))
    for one in document.get("certifications", ()):
        scheme = read_word(one["scheme"], f"{prefix}.certifications.scheme".strip("."), tuple(atlas.schemes))
        levels = tuple(atlas.schemes[scheme].levels)
        read_word(one["level"], f"{prefix}.certifications.{scheme}".strip("."), levels)


def _territories(document: Mapping[str, Any]) -> list[tuple[str, str]]:  # Any: JSON
    match document["kind"]:
        case "Entity":
            return [("seat", document["seat"]), *(("presences", one) for one in document["presences"] or ())]
        case "ControlPlane":
            return [("territory", document["territory"])]
        case "Region":
            return [
                ("territory", document["territory"]),
                *(("access_territories", one) for one in document["access_territories"]),
                *(("endpoints", one["territory"]) for one in document["endpoints"].values() if one),
            ]
        case _:
            return []


def parse_world(documents: list[Mapping[str, Any]]) -> list[WorldDocument]:
    """Check world documents and return them.

    Raises:
        Invalid: for the first fault, with document, field and what would be right.
    """
    parsed = [_parse(document, place) for place, document in enumerate(documents)]
    _each_once(parsed)
    return parsed


def _each_once(documents: list[WorldDocument]) -> None:
    seen: set[tuple[str, ...]] = set()
    for place, document in enumerate(documents):
        name = "" if isinstance(document, ControlPlaneDocument) else document.name
        owner = document.organisation if isinstance(document, ProjectDocument) else ""
        if (document.kind, name, owner) in seen:
            raise Invalid(f"documents.{place}.name", f"{document.kind} {name} stands twice; which one is meant?")
        seen.add((document.kind, name, owner))


def _parse(document: Mapping[str, Any], place: int) -> WorldDocument:
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if kind not in KINDS:
        raise Invalid(f"documents.{place}.kind", f"{kind!r} is not a kind; one of {', '.join(KINDS)}")
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(["documents", str(place), *(str(part) for part in first["loc"][1:])])
        name = document.get("name", kind)
        message = first["msg"].removeprefix("Value error, ")
        raise Invalid(path, f"{kind} {name}: {message}") from None
