"""Server-sent events out of a byte stream (WHATWG HTML, section 9.2), as far as our gateways use them.

Bytes and not text, because a program's log may hold any separator that a text reader would cut at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: The kind of event that a comment line becomes: the server is there and has nothing to say.
KEEPALIVE = "keepalive"


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `id` is empty where the server sent none."""

    kind: str
    data: bytes
    id: str = ""


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield each complete event; what a broken connection left unfinished is dropped, as resuming repeats it."""
    kind, data, identity = "message", list[bytes](), ""
    for line in _lines(chunks):
        if not line:
            if data or kind != "message":
                yield Event(kind, b"\n".join(data), identity)
            kind, data, identity = "message", [], ""
            continue
        name, _, value = line.partition(b":")
        if not name:
            yield Event(KEEPALIVE, b"")
            continue
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("ascii", "replace")
        elif name == b"id":
            identity = value.decode("ascii", "replace")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            yield line.removesuffix(b"\r")
