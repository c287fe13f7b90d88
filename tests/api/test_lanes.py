"""Whatever tenants ask, a region's heartbeat and a probe are answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from nordan_api.jobs import planning, service
from support.attempts import until
from support.lab import JOBS, Lab, job

#: More than any lane has.
MANY = 24


class Jam:
    """Requests that hold their threads until they are let go."""

    def __init__(self) -> None:
        self.held = 0
        self.gate = threading.Event()

    def hold(self, *_: Any, **__: Any) -> Any:
        self.held += 1
        self.gate.wait(60)
        return [], None


@pytest.fixture
def jam() -> Iterator[Jam]:
    made = Jam()
    yield made
    made.gate.set()


@pytest.fixture
def crowd(lab: Lab, jam: Jam) -> Iterator[Callable[[str, str], None]]:
    """Send many requests that nobody answers before the jam is let go."""
    headers = {"Authorization": f"Bearer {lab.admin_key}"}
    base = str(lab.client.base_url).rstrip("/")

    def send(method: str, path: str) -> None:
        body = None if method == "GET" else job()
        httpx.request(method, f"{base}{path}", headers=headers, json=body, timeout=60, trust_env=False)

    with ThreadPoolExecutor(MANY) as pool:

        def crowd_in(method: str, path: str) -> None:
            for _ in range(MANY):
                pool.submit(send, method, path)
            until(lambda: jam.held >= 4, "the lane is full")

        yield crowd_in
        jam.gate.set()


def test_lists_that_hang_keep_no_region_waiting(
    lab: Lab, jam: Jam, crowd: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "page", jam.hold)
    region = lab.region("fr-bru-1")
    crowd("GET", JOBS)
    assert region.sync()["stop"] == []
    assert lab.client.get("/readyz").status_code == 200


def test_plans_that_hang_keep_nobody_else_waiting(
    lab: Lab, jam: Jam, crowd: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "plan", jam.hold)
    region = lab.region("fr-bru-1")
    crowd("POST", f"{JOBS}:plan")
    assert region.sync()["stop"] == []
    assert lab.admin("GET", JOBS, expect=200).json()["items"] == []
