"""A lean HTTP load generator: keep-alive connections on asyncio, so that clients cost little of the shared cores."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Result:
    """What a run measured."""

    requests: int
    failures: int
    wall_s: float
    latencies_s: tuple[float, ...]
    answers: tuple[dict[str, object], ...]

    @property
    def rate(self) -> float:
        """Return requests per second."""
        return self.requests / self.wall_s

    def percentile_ms(self, percent: float) -> float:
        """Return a latency percentile in milliseconds."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000

    def line(self) -> str:
        """Return the run as one line."""
        spread = ", ".join(f"p{percent} {self.percentile_ms(percent):.1f} ms" for percent in (50, 95, 99))
        return f"{self.rate:.0f}/s, {spread}, {self.requests} requests, {self.failures} failed"


def run(url: str, key: str, bodies: Sequence[bytes | None], *, clients: int) -> Result:
    """Send each body (None: a GET) once, over `clients` connections, as fast as answers come."""
    return asyncio.run(_run(url, key, bodies, clients))


async def _run(url: str, key: str, bodies: Sequence[bytes | None], clients: int) -> Result:
    parts = urlsplit(url)
    waiting = list(reversed(bodies))
    latencies: list[float] = []
    answers: list[dict[str, object]] = []
    failures = 0

    async def client() -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while waiting:
            body = waiting.pop()
            started = time.perf_counter()
            status, answer = await _exchange(reader, writer, _request(parts.path, parts.netloc, key, body))
            latencies.append(time.perf_counter() - started)
            failures += status >= 400
            answers.append(answer)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Result(len(bodies), failures, time.perf_counter() - started, tuple(latencies), tuple(answers))


def _request(path: str, host: str, key: str, body: bytes | None) -> bytes:
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
    content = body or b""
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, object]]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":", 1)[1])
    return status, json.loads(await reader.readexactly(length)) if length else {}
