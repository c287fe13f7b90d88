"""Make identifiers: time first, so that rows of one table stay near each other, then 80 random bits."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters of Crockford's base 32: 48 bits of milliseconds, 80 random ones."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    characters = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(characters)}"


def new_secret(prefix: str) -> str:
    """Return a secret of 160 random bits behind a prefix that leak scanners can recognise."""
    value = int.from_bytes(os.urandom(20), "big")
    return f"{prefix}_{''.join(_ALPHABET[(value >> shift) & 31] for shift in range(155, -1, -5))}"
