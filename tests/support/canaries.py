"""Canaries: words that mean nothing and can be found again, in whatever form somebody keeps or sends them.

All canaries of one flock share a random prefix, so one search finds every one of them, and says which.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

_ALPHABET = string.ascii_lowercase + string.digits
#: Packed and packed again: base64 of gzip in a quoted line is three deep.
DEPTH = 3
LARGEST_UNPACKED = 32 << 20
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}")
_HEX = re.compile(rb"[0-9A-Fa-f]{16,}")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|u00([0-9A-Fa-f]{2})|([0-7]{3})|([abtnvfr])|([\"'\\/]))")
#: What a letter behind a backslash stands for.
_CONTROLS = dict(zip(b"abtnvfr", b"\a\b\t\n\v\f\r", strict=True))
#: How gzip and zlib streams begin, and what their reader is told.
_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_ANY_HEADER = 47


@dataclass(frozen=True, slots=True)
class Canaries:
    """One flock: a canary for each field, and secrets that were made by others."""

    prefix: str = field(default_factory=lambda: "c" + "".join(secrets.choice(_ALPHABET) for _ in range(9)))
    fields: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """Return the canary of a field: lower-case letters and digits, legal in every kind of name."""
        return self.fields.setdefault(name, f"{self.prefix}{len(self.fields):03}")

    def add(self, name: str, text: str) -> str:
        """Look out for a text that somebody else made, such as a key."""
        self.fields[name] = text
        return text

    def found_in(self, data: bytes) -> set[str]:
        """Return the fields whose canaries are in some bytes, in any form."""
        needles = {text.lower().encode(): name for name, text in self.fields.items()}
        foreign = [text for text in needles if not text.startswith(self.prefix.encode())]
        found = set()
        for layer in layers(data):
            low = layer.lower()
            if self.prefix.encode() in low:
                found |= {name for text, name in needles.items() if text in low} or {"a part of a canary"}
            found |= {needles[text] for text in foreign if text in low}
        return found


def layers(data: bytes, depth: int = DEPTH) -> Iterator[bytes]:
    """Yield bytes as they are, and all that can be read out of them: unquoted, decoded, unpacked, again and again."""
    yield data
    if depth:
        for layer in _below(data):
            yield from layers(layer, depth - 1)


def _below(data: bytes) -> Iterator[bytes]:
    if _ESCAPE.search(data):
        yield _ESCAPE.sub(_unescaped, data)
    if b"%" in data and (plain := unquote_to_bytes(data)) != data:
        yield plain
    runs = _BASE64.findall(data)
    for offset in range(4) if runs else ():
        yield b"\n".join(_from_base64(run[offset:]) for run in runs)
    digits = _HEX.findall(data)
    for offset in range(2) if digits else ():
        yield b"\n".join(_from_hex(run[offset:]) for run in digits)
    for match in _PACKED.finditer(data):
        yield from _unpacked(data[match.start() :])


def _unescaped(match: re.Match[bytes]) -> bytes:
    coded, wide, octal, letter, itself = match.groups()
    if itself:
        return bytes(itself)
    if letter:
        return bytes([_CONTROLS[letter[0]]])
    return bytes([int(octal, 8) & 255 if octal else int(coded or wide, 16)])


def _from_base64(run: bytes) -> bytes:
    whole = run[: len(run) // 4 * 4]
    # Of a tail without padding two or three letters still are a byte or two.
    tail = run[len(whole) :] + b"=" * (-len(run) % 4)
    return b"".join(_decoded(part) for part in (whole, tail))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")))
    except binascii.Error:
        return b""


def _from_hex(run: bytes) -> bytes:
    return binascii.unhexlify(run[: len(run) // 2 * 2])


def _unpacked(data: bytes) -> Iterator[bytes]:
    try:
        yield zlib.decompressobj(_ANY_HEADER).decompress(data, LARGEST_UNPACKED)
    except zlib.error:
        return
