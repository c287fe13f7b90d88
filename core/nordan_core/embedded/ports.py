"""Loopback ports: chosen by the kernel once, then kept, so that URLs stay valid over restarts.

Used by `up`. A kept port that somebody else took meanwhile is replaced; a port that a person asked for is not.
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import write_file
from nordan_core.embedded.layout import Identity

LOOPBACK = "127.0.0.1"
#: Above the ports that well-known programs of a developer's machine take.
_LOWEST = 20_000
_TRIES = 50
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """Ports by name, remembered in a JSON file."""

    def __init__(self, file: Path, owner: Identity) -> None:
        self._file = file
        self._owner = owner
        self._ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}

    def kept(self, name: str) -> int | None:
        """Return the port that this name had last."""
        return self._ports.get(name)

    def take(self, name: str) -> int:
        """Return the port of this name: the one used last if it is free, else a new one."""
        port = self._ports.get(name)
        if port is None or not is_free(port):
            port = self._new()
            self._keep(name, port)
        return port

    def take_exactly(self, name: str, port: int) -> int:
        """Return the port that a person asked for.

        Raises:
            OperatorError: it is taken or needs a right that this user lacks.
        """
        check_free(port)
        self._keep(name, port)
        return port

    def _new(self) -> int:
        """Choose below the kernel's own range, where no outgoing connection takes a port while its server restarts."""
        candidates = [port for port in range(_LOWEST, _first_ephemeral()) if port not in self._ports.values()]
        for port in random.SystemRandom().sample(candidates, min(_TRIES, len(candidates))):
            if is_free(port):
                return port
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            return int(probe.getsockname()[1])

    def _keep(self, name: str, port: int) -> None:
        if self._ports.get(name) != port:
            self._ports[name] = port
            write_file(self._file, json.dumps(self._ports, indent=1, sort_keys=True), self._owner)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the loopback port now."""
    try:
        _bind(port)
    except OSError:
        return False
    return True


def is_listening(port: int) -> bool:
    """Tell whether a server takes connections at the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def check_free(port: int) -> None:
    """Check that a server could listen on the loopback port now.

    Raises:
        OperatorError: it is taken, or it is below 1024 and this user may not use it.
    """
    try:
        _bind(port)
    except PermissionError:
        raise OperatorError(
            f"Port {port} needs root (or another number: ports from 1024 on are open to everybody). "
            "Choose one with --port."
        ) from None
    except OSError:
        raise OperatorError(
            f"Port {port} on {LOOPBACK} is taken by another program. Stop that program (`ss -ltnp 'sport = {port}'` "
            "shows it) or choose another port with --port."
        ) from None


def _first_ephemeral() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _bind(port: int) -> None:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT from our last run is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
