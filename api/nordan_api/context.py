"""What every route needs, built once at start and handed down: no module-level state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from nordan_api.grant_keys import GrantKeys
from nordan_core.atlases import AtlasShelf
from nordan_core.clock import Clock, SystemClock
from nordan_core.facts import FactsBook, FactsCache
from nordan_core.policies import PolicyShelves
from nordan_core.proof.atlas_signature import release_keys
from nordan_core.proof.keys import PublicKey, SigningKey, trusted
from nordan_core.residency.places import Atlas
from nordan_core.sealing import SealingKey
from nordan_core.settings import ApiSettings, DatabaseSettings
from nordan_core.store.database import open_engine
from nordan_core.store.unit_of_work import Store


@dataclass(frozen=True, slots=True)
class Context:
    """The api's dependencies."""

    store: Store
    clock: Clock
    settings: ApiSettings
    grant_keys: GrantKeys
    certificate_key: PublicKey | None
    facts_cache: FactsCache
    sealing_key: SealingKey
    policies: PolicyShelves
    atlas_keys: Mapping[str, PublicKey] = field(default_factory=release_keys)
    """Whose atlases may be applied, by id."""
    logged: set[str] = field(default_factory=set)
    """Digests of facts that this process has seen in the log, so that it need not look again."""

    @property
    def grant_key(self) -> SigningKey:
        """Return the key that signs grants, renewals and passes now."""
        return self.grant_keys.current

    @property
    def atlas(self) -> Atlas:
        """Return the atlas in force as this process last saw it: for reading what people write, never for judging."""
        return self.facts_cache.atlases.newest

    def facts(self, epoch: int) -> FactsBook:
        """Return the facts at this residency epoch, read anew when it has moved."""
        return self.facts_cache.at(epoch, self.store)


def build_context(settings: ApiSettings, database: DatabaseSettings, clock: Clock | None = None) -> Context:
    """Return the context of a process: opens no connection yet."""
    public = settings.certificate_public_key_file
    store, clock = Store(open_engine(database)), clock or SystemClock()
    return Context(
        store=store,
        clock=clock,
        settings=settings,
        grant_keys=GrantKeys(settings.grant_key_file, store, clock, settings.grant_key_overlap_s),
        certificate_key=PublicKey.from_pem(public.read_bytes()) if public is not None and public.exists() else None,
        facts_cache=FactsCache(AtlasShelf()),
        sealing_key=SealingKey.load(settings.sealing_key_file),
        policies=PolicyShelves(),
        atlas_keys={**release_keys(), **trusted(*(PublicKey.load(path) for path in settings.atlas_key_files()))},
    )


def context_of(request: Request) -> Context:
    """Return the context of the app that serves this request."""
    return cast(Context, request.app.state.context)
