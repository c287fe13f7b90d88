"""Ports that are kept, and ports that are taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.layout import Identity
from nordan_core.embedded.ports import Ports, is_free, is_listening


def ports(tmp_path: Path) -> Ports:
    return Ports(tmp_path / "ports.json", Identity.own())


def test_a_name_keeps_its_port_over_restarts(tmp_path: Path) -> None:
    first = ports(tmp_path).take("gateway")
    assert ports(tmp_path).take("gateway") == first
    assert ports(tmp_path).kept("gateway") == first
    assert ports(tmp_path).kept("other") is None


def test_a_kept_port_that_somebody_took_is_replaced(tmp_path: Path) -> None:
    first = ports(tmp_path).take("gateway")
    with socket.create_server(("127.0.0.1", first)):
        second = ports(tmp_path).take("gateway")
    assert second != first
    assert is_free(second)


def test_a_port_that_a_person_asked_for_is_never_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(port)
        with pytest.raises(OperatorError, match=rf"Port {port} on 127.0.0.1 is taken"):
            ports(tmp_path).take_exactly("api", port)
    assert not is_listening(port)
    assert ports(tmp_path).take_exactly("api", port) == port


def test_names_get_different_ports(tmp_path: Path) -> None:
    some = ports(tmp_path)
    assert len({some.take(f"part-{number}") for number in range(20)}) == 20
