"""A tap on a broker: every command that it is sent, and everything that it keeps, for as long as somebody listens."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import redis

PAUSE_S = 0.05
READ = 1 << 16


def inspector(broker_url: str, region_folder: Path) -> redis.Redis:
    """Return a client that may look at everything in a broker and change nothing."""
    found = urlsplit(broker_url)
    password = (region_folder / "broker" / "inspector-password").read_text().strip()
    return redis.Redis(host=found.hostname or "", port=found.port or 0, username="inspector", password=password)


class Tap:
    """Listens with the inspector's password, which only the operator has; it can look and change nothing."""

    def __init__(self, broker_url: str, region_folder: Path) -> None:
        found = urlsplit(broker_url)
        assert found.hostname
        assert found.port
        self._address = (found.hostname, found.port)
        self._password = (region_folder / "broker" / "inspector-password").read_text().strip()
        self._told = bytearray()
        self._kept: set[bytes] = set()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._line = socket.create_connection(self._address)
        self._inspector = inspector(broker_url, region_folder)

    def __enter__(self) -> Tap:
        """Begin to listen; what is sent from now on is heard."""
        self._line.sendall(f"AUTH inspector {self._password}\r\nMONITOR\r\n".encode())
        answer = b""
        while answer.count(b"+OK\r\n") < 2:
            answer += self._line.recv(READ)
        self._start(self._listen)
        self._start(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._stopping.set()
        self._line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._line.close()
        self._inspector.close()

    @property
    def told(self) -> bytes:
        """Every command so far, as MONITOR prints it."""
        return bytes(self._told)

    @property
    def kept(self) -> bytes:
        """Everything that was seen in the keyspace so far: names of keys and their values."""
        return b"\n".join(sorted(self._kept))

    def waiting(self) -> int:
        """Return how many messages wait in the queue."""
        return self._inspector.llen("nudges")

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="tap", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while data := self._line.recv(READ):
            self._told += data

    def _look(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            for key in self._inspector.scan_iter(count=1000):
                self._kept.add(key)
                self._kept.update(self._values(key))

    def _values(self, key: bytes) -> list[bytes]:
        client: Any = self._inspector  # redis-py's types leave open whether it is asynchronous
        match client.type(key):
            case b"list":
                return list(client.lrange(key, 0, -1))
            case b"set":
                return list(client.smembers(key))
            case b"zset":
                return list(client.zrange(key, 0, -1))
            case b"hash":
                return [part for pair in client.hgetall(key).items() for part in pair]
            case b"string":
                return [value for value in [client.get(key)] if value is not None]
            case _:
                # It went meanwhile.
                return []
