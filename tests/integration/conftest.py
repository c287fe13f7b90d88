"""One whole stack for all tests of this folder: real processes, two regions, gone at the end."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.canaries import Canaries
from support.chaos_stack import ChaosStack, chaos_stack
from support.tenants import Tenant, client_of


@pytest.fixture(scope="session")
def stack() -> Iterator[ChaosStack]:
    """Yield a running stack."""
    with chaos_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def http(stack: ChaosStack) -> Iterator[httpx.Client]:
    """Yield a client of the stack's api."""
    with client_of(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def admin(stack: ChaosStack, http: httpx.Client) -> Tenant:
    """Return whoever runs the platform."""
    return Tenant(http, stack.key, stack.project)


@pytest.fixture(scope="session")
def canaries() -> Canaries:
    """Return the canaries of this run."""
    return Canaries()


@pytest.fixture(scope="session")
def organisation(admin: Tenant, canaries: Canaries) -> str:
    """Return the organisation of all tests: without root a pool serves only one. Its name is a canary."""
    name = canaries["organisation"]
    admin.ask("POST", "/v1/organisations", json={"name": name}, expect=201)
    return name
