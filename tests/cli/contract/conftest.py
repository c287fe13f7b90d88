"""The command line against the real api over a real PostgreSQL; gateways are the fake one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from nordan_cli.invocation import Invocation
from nordan_core.clock import ManualClock
from nordan_core.store.unit_of_work import Store
from support.control import Control, make_control
from support.fake_rest import FakeRest
from support.postgres import engine, server, store
from support.serving import serving

__all__ = ["engine", "server", "store"]
#: The port that `Control.join` gives to gateways; nobody listens there.
GATEWAY_PORT = 1


class _Network(httpx.BaseTransport):
    """The real network but for gateways."""

    def __init__(self, gateways: FakeRest) -> None:
        self._real = httpx.HTTPTransport()
        self._gateways = gateways.transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        taken = self._gateways if request.url.port == GATEWAY_PORT else self._real
        return taken.handle_request(request)

    def close(self) -> None:
        self._real.close()


@pytest.fixture
def clock() -> ManualClock:
    """One time for both sides."""
    return ManualClock(datetime(2026, 11, 1, tzinfo=UTC))


@pytest.fixture
def control(store: Store, tmp_path: Path, clock: ManualClock) -> Iterator[Control]:
    """Yield a control plane without a world, served on a port."""
    made = make_control(store, tmp_path, clock)
    with serving(made.app) as url, httpx.Client(base_url=url, timeout=30) as client:
        made.client = client
        yield made


@pytest.fixture
def run(control: Control, clock: ManualClock, rest: FakeRest, tmp_path: Path) -> Invocation:
    """The surroundings of an administrator's command line."""
    return Invocation(
        clock=clock,
        sleep=clock.advance,
        transport=_Network(rest),
        config_path=tmp_path / "config" / "config.json",
        url=str(control.client.base_url),
        key=control.admin_key,
    )
