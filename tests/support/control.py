"""A control plane in the test's own process: the real app, a manual clock, helpers for its callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from httpx import Client, Response

from nordan_api.bootstrap import BootstrapSettings, bootstrap
from nordan_api.context import Context
from nordan_api.grant_keys import GrantKeys
from nordan_api.main import create_app
from nordan_core.atlases import AtlasShelf
from nordan_core.clock import ManualClock
from nordan_core.facts import FactsCache
from nordan_core.identifiers import new_secret
from nordan_core.policies import PolicyShelves
from nordan_core.proof.keys import SigningKey
from nordan_core.sealing import SealingKey
from nordan_core.settings import ApiSettings
from nordan_core.store.unit_of_work import Store
from support.atlases import TRUSTED

Json = dict[str, Any]


@dataclass
class Control:
    """One control plane and how tests talk to it."""

    app: FastAPI
    context: Context
    clock: ManualClock
    admin_key: str
    client: Client = field(init=False)
    credentials: dict[str, str] = field(default_factory=dict)
    """Region credentials by code."""

    def call(
        self, method: str, path: str, body: Json | None = None, *, key: str, expect: int | None = None, **headers: str
    ) -> Response:
        """Make a request with a bearer credential; checks the status when one is expected."""
        sent = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        response = self.client.request(method, path, json=body, headers=sent, follow_redirects=False)
        if expect is not None:
            assert response.status_code == expect, response.text
        return response

    def admin(
        self, method: str, path: str, body: Json | None = None, *, expect: int | None = None, **headers: str
    ) -> Response:
        """Make a request as the administrator."""
        return self.call(method, path, body, key=self.admin_key, expect=expect, **headers)

    def worker(self, region: str, path: str, body: Json, *, expect: int = 200) -> Json:
        """Make a request to the worker API as a region."""
        answer: Json = self.call("POST", path, body, key=self.credentials[region], expect=expect).json()
        return answer

    def join(self, region: str, *, tenancy: tuple[str, ...] = ("shared", "dedicated", "single")) -> Json:
        """Join a region and keep its credential."""
        body: Json = {
            "gateway_url": f"http://127.0.0.1:1/{region}",
            "broker_url": "redis://127.0.0.1:1/0",
            "offers_tenancy": list(tenancy),
        }
        bundle: Json = self.admin("POST", f"/v1/regions/{region}:join", body, expect=200).json()
        self.credentials[region] = bundle["credential"]
        return bundle

    def key(self, organisation: str, role: str, **wanted: Any) -> str:
        """Make a key and return its secret."""
        path = f"/v1/organisations/{organisation}/keys"
        secret: str = self.admin("POST", path, {"role": role, **wanted}, expect=201).json()["key"]
        return secret


def make_control(store: Store, folder: Path, clock: ManualClock) -> Control:
    """Return a control plane over an empty database."""
    grant_key = folder / "grant.key"
    SigningKey.create().save(grant_key)
    sealing_key = folder / "sealing-key"
    sealing_key.write_text(new_secret("test"))
    settings = ApiSettings(grant_key_file=grant_key, api_url="http://127.0.0.1:1", sealing_key_file=sealing_key)
    context = Context(
        store=store,
        clock=clock,
        settings=settings,
        grant_keys=GrantKeys(grant_key, store, clock, settings.grant_key_overlap_s),
        certificate_key=None,
        facts_cache=FactsCache(AtlasShelf()),
        sealing_key=SealingKey.load(sealing_key),
        policies=PolicyShelves(),
        atlas_keys=TRUSTED,
    )
    key_file = folder / "admin-key"
    bootstrap(store, BootstrapSettings(admin_key_file=key_file, admin_territory="FR"))
    return Control(create_app(context), context, clock, key_file.read_text().strip())
