"""Follow a log file as server-sent events: one event a line, its id the offset behind it, until the attempt is over.

A reader that resumes with the last id misses nothing and sees nothing twice. Reading is by polling: the writer is
another process, one `stat` is cheap, and nothing has to be told when a reader leaves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from nordan_core.clock import Clock

POLL_S = 0.15
HEARTBEAT_S = 5.0
#: Bytes read at once; a line may be so long, and is cut there.
CHUNK_BYTES = 64 * 1024
END = b"event: end\ndata: \n\n"
HEARTBEAT = b": nothing new\n\n"


@dataclass(frozen=True, slots=True)
class Tail:
    """One reader of one log."""

    path: Path
    is_complete: Callable[[], bool]
    """Nothing more will be written, so the end of the file is the end."""
    is_open: Callable[[], bool]
    """The reader may go on; once not, the stream stops without an end, and the reader asks for a new token."""
    clock: Clock

    async def events(self, offset: int) -> AsyncIterator[bytes]:
        """Yield encoded events for everything behind `offset`, in pieces of many events where there are many."""
        told_at_s = self.clock.monotonic()
        while self.is_open():
            # Asked before reading: what is written until then is read below, or there is more to come.
            is_last = self.is_complete()
            data = _read(self.path, offset)
            lines, length = _whole_lines(data, is_last=is_last)
            if lines:
                yield _encode(lines, offset)
                offset += length
                told_at_s = self.clock.monotonic()
            elif is_last:
                yield END
                return
            else:
                if self.clock.monotonic() >= told_at_s + HEARTBEAT_S:
                    yield HEARTBEAT
                    told_at_s = self.clock.monotonic()
                await asyncio.sleep(POLL_S)


def _read(path: Path, offset: int) -> bytes:
    """Return the next bytes; none where there is no file yet."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, CHUNK_BYTES, offset)
    finally:
        os.close(descriptor)


def _whole_lines(data: bytes, *, is_last: bool) -> tuple[list[tuple[bytes, int]], int]:
    """Return lines with their lengths on disk, and the sum; an unfinished line only if it is over-long, or the last."""
    *whole, rest = data.split(b"\n")
    lines = [(line, len(line) + 1) for line in whole]
    has_more = len(data) == CHUNK_BYTES
    if rest and (not whole if has_more else is_last):
        lines.append((rest, len(rest)))
    return lines, sum(length for _, length in lines)


def _encode(lines: list[tuple[bytes, int]], offset: int) -> bytes:
    events = bytearray()
    for line, length in lines:
        offset += length
        # To SSE a carriage return ends a line; progress bars are full of them.
        for part in line.split(b"\r"):
            events += b"data: " + part + b"\n"
        events += b"id: %d\n\n" % offset
    return bytes(events)
