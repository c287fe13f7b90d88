"""One JSON text per value, so that digests and signatures over values mean something.

Called wherever a value is hashed or signed. The form: keys sorted by code point, no white space, UTF-8, nothing
escaped that need not be, no NaN or infinity. Values that are signed should keep to strings, integers, booleans,
null, lists and objects with string keys: a float survives here, but not every database returns the same one.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import NoReturn

from nordan_core.proof.errors import NotCanonical

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical_json(value: object) -> bytes:
    """Return the only JSON text of a value, in UTF-8.

    Raises:
        NotCanonical: NaN, an infinity, a lone surrogate, a type or a nesting depth that JSON does not carry.
    """
    try:
        return _encode(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise NotCanonical(f"the value has no canonical JSON form: {error}") from error


def from_canonical(data: bytes) -> object:
    """Read canonical JSON back, refusing every other spelling of the same value.

    Raises:
        NotCanonical: not UTF-8, not JSON, a key given twice, or JSON in another form than `canonical_json` writes.
    """
    try:
        value: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not canonical JSON: {error}") from error
    if canonical_json(value) != data:
        raise NotCanonical("not canonical JSON: the same value has another spelling here")
    return value


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of the bytes as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON as 64 lower-case hex digits.

    Raises:
        NotCanonical: the value has no canonical form.
    """
    return sha256_hex(canonical_json(value))


def _without_duplicates(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise NotCanonical(f"not canonical JSON: the key {key!r} is given twice")
        found[key] = value
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise NotCanonical(f"not canonical JSON: {text} is no number")
