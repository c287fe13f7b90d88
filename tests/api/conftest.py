"""The real app over a real PostgreSQL, with a clock that tests move and Europe's sample world."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from httpx import Client

from nordan_cli.jobfile import load_all
from nordan_core.clock import ManualClock
from nordan_core.store.unit_of_work import Store
from support.control import Control, make_control
from support.postgres import engine, server, store
from support.serving import serving

__all__ = ["engine", "server", "store"]
EUROPE = Path(__file__).parents[2] / "deploy" / "world" / "europe.yaml"


@pytest.fixture
def control(store: Store, tmp_path: Path) -> Iterator[Control]:
    """Yield a control plane with an admin key and no world yet."""
    made = make_control(store, tmp_path, ManualClock(datetime(2026, 11, 1, tzinfo=UTC)))
    with serving(made.app) as url, Client(base_url=url, timeout=30) as client:
        made.client = client
        yield made


@pytest.fixture
def europe(control: Control) -> Control:
    """Return a control plane that knows the sample world, with a project `default` of organisation `home`."""
    documents = load_all(EUROPE)
    control.admin("POST", "/v1/admin:apply", {"documents": documents}, expect=200)
    control.admin("POST", "/v1/projects", {"name": "default"}, expect=201)
    for region in ("fr-bru-1", "se-bor-1", "no-nar-1", "de-fra-1"):
        control.join(region)
    return control
