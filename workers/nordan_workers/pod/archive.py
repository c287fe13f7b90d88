"""Folders as one stream between gateway and pods: a tar of plain files and folders, sealed with the digest of itself.

Written and read piece by piece, so that neither side holds more than a piece. Both ends are ours, but what is read was
made beside a tenant's program, so the reader knows nothing but files and folders: a link, a device, a path that leaves
the folder, a size over the limit or a missing seal refuses the whole. Standard tar reads these archives; the seal is an
entry of a vendor's type, 64 hex digits over every byte before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from nordan_core.domain.contents import is_safe_path

BLOCK = 512
#: Bytes that are read from a file at once.
CHUNK_BYTES = 1 << 18
MAX_PATH_BYTES = 1024
_FILE, _FOLDER, _PAX, _SEAL = b"0", b"5", b"x", b"N"
#: The longest path, a size, and the words around them.
_MAX_PAX_BYTES = MAX_PATH_BYTES + 256
_NAME_BYTES = 100
_SIZE_LIMIT = 8**11
_SEAL_BYTES = 64
_END = bytes(2 * BLOCK)


class ArchiveRefused(Exception):
    """The archive holds what must not be laid, is longer than allowed, or is not whole. Names no file."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file or folder."""

    path: str
    mode: int
    size_bytes: int = 0
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader takes at most."""

    total_bytes: int
    """Of all files together."""
    members: int


class Sink(Protocol):
    """Where a reader's findings go: `begin`, then for a file `data` until its size is reached, then `end`."""

    def begin(self, member: Member) -> None:
        """Take the next file or folder."""
        ...

    def data(self, piece: bytes) -> None:
        """Take the next bytes of the file."""
        ...

    def end(self) -> None:
        """Close the file or folder."""
        ...


def archive(entries: Iterable[tuple[Member, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the sealed archive of these members, each with its bytes in as many pieces as there are.

    Raises:
        ArchiveRefused: a file has not as many bytes as its member says.
    """
    sha256 = hashlib.sha256()
    for member, pieces in entries:
        for piece in _encoded(member, pieces):
            sha256.update(piece)
            yield piece
    seal = sha256.hexdigest().encode()
    yield _header("seal", 0o600, _SEAL_BYTES, _SEAL) + seal + bytes(BLOCK - _SEAL_BYTES) + _END


class Reader:
    """Takes an archive in pieces of any size and hands its members to a sink."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self._sink = sink
        self._bytes_left = limits.total_bytes
        self._members_left = limits.members
        self._sha256 = hashlib.sha256()
        self._held = bytearray()
        self._file_left = 0
        self._filling_left = 0
        self._pax: dict[str, str] = {}
        self._is_sealed = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            ArchiveRefused: whatever the sink has taken by then must go.
            OSError: from the sink.
        """
        view = memoryview(piece)
        while view:
            if self._is_sealed:
                return  # the end's empty blocks
            view = view[self._take(view) :]

    def finish(self) -> None:
        """Check that the archive came to its end and is what was sent.

        Raises:
            ArchiveRefused: it is cut short, or was changed on its way.
        """
        if not self._is_sealed:
            raise ArchiveRefused("the archive is cut short")

    def _take(self, view: memoryview) -> int:
        """Take what comes next out of the view; return how many bytes that were."""
        if self._file_left:
            piece = bytes(view[: self._file_left])
            self._sha256.update(piece)
            self._sink.data(piece)
            self._file_left -= len(piece)
            if not self._file_left:
                self._sink.end()
            return len(piece)
        if self._filling_left:
            piece = bytes(view[: self._filling_left])
            self._sha256.update(piece)
            self._filling_left -= len(piece)
            return len(piece)
        return self._take_header(view)

    def _take_header(self, view: memoryview) -> int:
        wanted = self._wanted()
        taken = min(wanted - len(self._held), len(view))
        self._held += view[:taken]
        # A header of a seal or of long names asks for the blocks behind it, too.
        if len(self._held) == self._wanted():
            held = bytes(self._held)
            self._held.clear()
            self._interpret(held)
        return taken

    def _wanted(self) -> int:
        if len(self._held) < BLOCK:
            return BLOCK
        kind, size = self._held[156:157], _size_of(self._held)
        if kind == _SEAL:
            return 2 * BLOCK
        if kind != _PAX:
            return BLOCK
        if size > _MAX_PAX_BYTES:
            raise ArchiveRefused("a path in the archive is too long")
        return BLOCK + size + _filling(size)

    def _interpret(self, held: bytes) -> None:
        if held[257:262] != b"ustar" or _number(held[148:156]) != _checksum(held):
            raise ArchiveRefused("the archive is not well-formed")
        kind = held[156:157]
        if kind == _SEAL:
            if held[BLOCK : BLOCK + _SEAL_BYTES] != self._sha256.hexdigest().encode():
                raise ArchiveRefused("the archive was changed on its way")
            self._is_sealed = True
            return
        self._sha256.update(held)
        if kind == _PAX:
            self._pax = _pax_of(held[BLOCK : BLOCK + _size_of(held)])
        elif kind in {_FILE, _FOLDER}:
            self._begin(held, is_folder=kind == _FOLDER)
        else:
            raise ArchiveRefused("the archive holds a link, a device, or another thing that is no plain file")

    def _begin(self, held: bytes, *, is_folder: bool) -> None:
        path = self._pax.get("path") or os.fsdecode(held[:_NAME_BYTES].rstrip(b"\0"))
        path = path.removesuffix("/") if is_folder else path
        size = int(self._pax.get("size") or _size_of(held))
        self._pax = {}
        if not is_safe_path(path) or len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise ArchiveRefused("a path in the archive leaves its folder, or is too long")
        self._members_left -= 1
        self._bytes_left -= size
        if self._members_left < 0 or self._bytes_left < 0:
            raise ArchiveRefused("the archive holds more than is taken")
        if is_folder and size:
            raise ArchiveRefused("the archive is not well-formed")
        self._sink.begin(Member(path, _number(held[100:108]) & 0o777, size, is_folder))
        self._file_left, self._filling_left = size, _filling(size)
        if not size:
            self._sink.end()


def _encoded(member: Member, pieces: Iterable[bytes]) -> Iterator[bytes]:
    path, size = member.path + ("/" if member.is_folder else ""), member.size_bytes
    raw = os.fsencode(path)
    if len(raw) > _NAME_BYTES or size >= _SIZE_LIMIT:
        yield _pax(raw, size)
    short = size if size < _SIZE_LIMIT else 0
    yield _header(os.fsdecode(raw[:_NAME_BYTES]), member.mode, short, _FOLDER if member.is_folder else _FILE)
    left = size
    for piece in pieces:
        left -= len(piece)
        yield piece
    if left:
        raise ArchiveRefused("a file changed while it was read")
    yield bytes(_filling(size))


def _pax(path: bytes, size: int) -> bytes:
    body = _pax_line(b"path", path) + _pax_line(b"size", b"%d" % size)
    return _header("pax", 0o600, len(body), _PAX) + body + bytes(_filling(len(body)))


def _pax_line(name: bytes, value: bytes) -> bytes:
    rest = b" " + name + b"=" + value + b"\n"
    length = len(rest) + 1
    # The length counts its own digits.
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def _pax_of(body: bytes) -> dict[str, str]:
    found = {}
    while body:
        length, _, rest = body.partition(b" ")
        if not length.isdigit() or not 4 < int(length) <= len(body):
            raise ArchiveRefused("the archive is not well-formed")
        name, equals, value = rest[: int(length) - len(length) - 1].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ArchiveRefused("the archive is not well-formed")
        found[name.decode(errors="replace")] = os.fsdecode(value[:-1])
        body = body[int(length) :]
    size = found.get("size", "0")
    if not size.isascii() or not size.isdecimal() or len(size) > 18:
        raise ArchiveRefused("the archive is not well-formed")
    return found


def _header(name: str, mode: int, size: int, kind: bytes) -> bytes:
    fields = (
        os.fsencode(name).ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,  # owner and group are the reader's
        b"%011o\0" % size,
        b"00000000000\0",  # as is the time
        b" " * 8,
        kind,
        bytes(_NAME_BYTES),
        b"ustar\x0000",
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % _checksum(block) + block[156:]


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:BLOCK])


def _size_of(block: bytes | bytearray) -> int:
    return _number(bytes(block[124:136]))


def _number(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    if not digits.isdigit() or digits.strip(b"01234567"):
        raise ArchiveRefused("the archive is not well-formed")
    return int(digits, 8)


def _filling(size: int) -> int:
    return -size % BLOCK
