"""What gateway and keeper say to each other over one Unix socket: frames of a kind and some bytes.

Standard library only: keepers are forked from the shims' parent. The gateway, the supervisor's doorway and executors
that relay speak it, too. What goes through is a tenant's; nothing of it is ever logged.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from enum import IntEnum

_HEADER = struct.Struct("!BI")
HEADER_BYTES = _HEADER.size
#: The longest frame that either side sends; longer output goes in several.
MAX_BYTES = 64 * 1024


class Kind(IntEnum):
    """What a frame is; the first five are those of the client's messages, too."""

    STDIN = 0
    """Empty: the end of the input."""
    STDOUT = 1
    STDERR = 2
    END = 3
    """JSON, and the last frame: `{"exit_code": N}`, `{"signal": N}` or `{"error": CODE, "message": TEXT}`."""
    RESIZE = 4
    """JSON: `[COLUMNS, ROWS]`."""
    OPEN = 16
    """JSON, from the gateway to the supervisor's doorway: `{"attempt_id": ID, "rank": N}`."""
    READY = 17
    """From whoever keeps the session: the rank runs here, say what to start."""
    START = 18
    """JSON: `{"command": [...], "is_tty": BOOL, "term": TEXT, "size": [COLUMNS, ROWS]}`."""


class BadFrame(Exception):
    """The other side sent what is no frame, or hung up in the middle of one."""


def pack(kind: Kind, data: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return _HEADER.pack(kind, len(data)) + data


def pack_document(kind: Kind, document: object) -> bytes:
    """Return the bytes of one frame that holds JSON."""
    return pack(kind, json.dumps(document).encode())


def parse_header(header: bytes) -> tuple[Kind, int]:
    """Return kind and length of the frame that begins so.

    Raises:
        BadFrame: there is no such kind, or it is too long.
    """
    number, length = _HEADER.unpack(header)
    try:
        kind = Kind(number)
    except ValueError as error:
        raise BadFrame("no such kind") from error
    if length > MAX_BYTES:
        raise BadFrame("too long")
    return kind, length


def receive(connection: socket.socket, wanted: Kind) -> bytes:
    """Return the data of the next frame and read nothing behind it; blocks as long as the socket's timeout lets it.

    Raises:
        BadFrame: it is of another kind, or the other side hung up. OSError: the socket failed, or took too long.
    """
    kind, length = parse_header(_exactly(connection, HEADER_BYTES))
    if kind is not wanted:
        raise BadFrame(f"{wanted.name} expected")
    return _exactly(connection, length)


def document_of(data: bytes) -> Mapping[str, object]:
    """Return the JSON object that a frame holds.

    Raises:
        BadFrame: it holds something else.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFrame("JSON expected") from error
    if not isinstance(found, dict):
        raise BadFrame("an object expected")
    return found


class Unpacker:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """Return the frames that are complete now.

        Raises:
            BadFrame: what came is none.
        """
        self._rest += data
        found: list[tuple[Kind, bytes]] = []
        while len(self._rest) >= HEADER_BYTES:
            kind, length = parse_header(bytes(self._rest[:HEADER_BYTES]))
            end = HEADER_BYTES + length
            if len(self._rest) < end:
                break
            found.append((kind, bytes(self._rest[HEADER_BYTES:end])))
            del self._rest[:end]
        return found


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise BadFrame("hung up")
        data += piece
    return bytes(data)
