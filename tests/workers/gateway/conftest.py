"""One gateway for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.gateways import GatewayUnderTest, gateway_under_test


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    with gateway_under_test(tmp_path_factory.mktemp("region")) as gateway:
        yield gateway
