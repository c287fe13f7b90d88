"""The parts of answers about atlases that commands look into; see `models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AtlasSigner:
    """Whose key signed an atlas."""

    key: str
    release: bool


@dataclass(frozen=True, slots=True)
class NamedAtlas:
    """One version of the atlas."""

    version: str
    digest: str
    signed_by: AtlasSigner | None = None
    applied_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Atlases:
    """The atlas in force, and those that were before it."""

    in_force: NamedAtlas
    packaged: NamedAtlas
    items: tuple[NamedAtlas, ...] = ()


@dataclass(frozen=True, slots=True)
class AtlasFile:
    """An atlas's bytes in base64, with the signature that lies beside them."""

    digest: str
    data: str
    signature: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AtlasChanged:
    """One thing that two atlases say differently."""

    kind: str
    name: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class AtlasLacks:
    """Something in use that another atlas could not read."""

    where: str
    message: str


@dataclass(frozen=True, slots=True)
class TouchedLayer:
    """A floor or an owner's word that other pools meet than before."""

    kind: str
    name: str
    of: str = ""
    refused: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TouchedPolicy:
    """An effective policy under which other pools may run its jobs than before."""

    digest: str
    project: str
    jobs: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TouchedPool:
    """A pool, with how many policies and attempts anything changes for."""

    pool: str
    refused: int = 0
    allowed: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class AtlasRefusal:
    """What another atlas makes a facet say."""

    facet: str
    want: str = ""
    have: str = ""


@dataclass(frozen=True, slots=True)
class TouchedAttempt:
    """A live attempt of which something else would be said."""

    attempt: str
    project: str
    pool: str
    now: str
    refusals: tuple[AtlasRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class TouchedData:
    """Data in a region of which something else would be said."""

    project: str
    region: str
    now: str
    refusals: tuple[AtlasRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class AtlasDiff:
    """What another atlas changes."""

    in_force: NamedAtlas
    offered: NamedAtlas
    is_newer: bool
    lacking: tuple[AtlasLacks, ...] = ()
    changes: tuple[AtlasChanged, ...] = ()
    layers: tuple[TouchedLayer, ...] = ()
    policies: tuple[TouchedPolicy, ...] = ()
    pools: tuple[TouchedPool, ...] = ()
    attempts: tuple[TouchedAttempt, ...] = ()
    data: tuple[TouchedData, ...] = ()
