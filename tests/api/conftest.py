"""The real app over a real PostgreSQL, with Europe's sample world and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from httpx import Client

from support.database_clock import timed_engine
from support.lab import Lab, open_lab
from support.postgres import server
from support.serving import serving

__all__ = ["server"]


@pytest.fixture(scope="session")
def laboratory(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Serve one control plane for all tests of this folder."""
    engine = timed_engine(server)
    lab = open_lab(engine, tmp_path_factory.mktemp("control"))
    with serving(lab.app) as url, Client(base_url=url, timeout=30) as client:
        lab.settle(client)
        yield lab
    engine.dispose()


@pytest.fixture
def lab(laboratory: Lab) -> Lab:
    """Return the control plane as it was when the sample world had just been applied."""
    return laboratory.fresh()


@pytest.fixture
def europe(lab: Lab) -> Lab:
    """Return the same, under the name of its world."""
    return lab
