"""The form of a token: signed claims as one line of text that fits a header.

A token is the base64url (without padding) of the canonical JSON of a DSSE envelope. Its kind is the envelope's
payload type, so that a pass to a gateway can never be shown as a grant. Called by `tokens`, which knows the kinds.
The reader's time is an argument.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime

from nordan_core.proof.canonical import canonical_json, from_canonical
from nordan_core.proof.dsse import envelope_bytes, open_envelope, sign_envelope, signer_of
from nordan_core.proof.errors import (
    EnvelopeMalformed,
    NotCanonical,
    PayloadTypeMismatch,
    SignatureInvalid,
    TokenExpired,
    TokenForged,
    TokenMalformed,
    TokenNotYetValid,
)
from nordan_core.proof.keys import KeyRing, PublicKey, SigningKey

#: How far the clocks of two machines may be apart.
SKEW_S = 5
#: A longer text is refused before anything is decoded. The renewal of a region with 10,000 live attempts fits.
LONGEST_TOKEN = 4 * 1024 * 1024


def mint(claims: Mapping[str, object], *, kind: str, key: SigningKey) -> str:
    """Sign claims as a token of this kind.

    Claims hold `exp`, and `iat` where known, as whole seconds since 1970; a token without `exp` holds at no instant.

    Raises:
        NotCanonical: a claim that JSON does not carry.
    """
    envelope = sign_envelope(_payload_type(kind), canonical_json(claims), key)
    return base64.urlsafe_b64encode(envelope_bytes(envelope)).rstrip(b"=").decode("ascii")


def read(token: str, *, kind: str, keys: Mapping[str, PublicKey], now: datetime | None) -> dict[str, object]:
    """Return a token's claims, once signature, kind and times are established.

    `now` is aware; `exp` and `iat` are compared with it within `SKEW_S` seconds. None leaves times to the caller, who
    has a better measure than a wall clock.

    Raises:
        TokenMalformed: not a token, or no whole-second `exp`.
        TokenForged: the signature is not by one of the keys, or the token was made for another kind of use, or
            issued after its key was retired.
        TokenExpired: `exp` has passed.
        TokenNotYetValid: `iat` lies ahead.
    """
    try:
        envelope = _envelope_of(token)
        payload = open_envelope(envelope, _payload_type(kind), keys)
        claims = from_canonical(payload)
    except (EnvelopeMalformed, NotCanonical) as error:
        raise TokenMalformed(f"not a token: {error}") from error
    except (PayloadTypeMismatch, SignatureInvalid) as error:
        raise TokenForged(f"this is no {kind} token of a trusted key: {error}") from error
    if not isinstance(claims, dict):
        raise TokenMalformed("a token's claims are an object")
    if isinstance(keys, KeyRing) and keys.retired:
        _check_in_office(claims, signer_of(envelope), keys)
    if now is not None:
        _check_times(claims, now)
    return claims


def unix_seconds(instant: datetime) -> int:
    """Return the whole seconds since 1970 of an aware instant, fractions dropped.

    Raises:
        ValueError: the instant is naive.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return int(instant.timestamp())


def instant_of(seconds: int) -> datetime:
    """Return the UTC instant of whole seconds since 1970.

    Raises:
        TokenMalformed: a number that no calendar holds.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise TokenMalformed(f"{seconds} is no instant") from error


def _payload_type(kind: str) -> str:
    return f"application/vnd.nordan.{kind}+json"


def _envelope_of(token: str) -> dict[str, object]:
    if len(token) > LONGEST_TOKEN:
        raise TokenMalformed(f"a token has at most {LONGEST_TOKEN} characters")
    try:
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        is_exact = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") == token
    except (ValueError, binascii.Error) as error:
        raise TokenMalformed("a token is base64url text") from error
    if not is_exact:
        raise TokenMalformed("the token's base64url is not in its canonical form")
    value = from_canonical(data)
    if not isinstance(value, dict):
        raise TokenMalformed("a token holds a JSON object")
    return value


def _check_in_office(claims: Mapping[str, object], key_id: str, keys: KeyRing) -> None:
    end = keys.retired.get(key_id)
    if end is not None and "iat" in claims and _whole_seconds(claims, "iat") > unix_seconds(end.until) + SKEW_S:
        raise TokenForged(f"the token is by the key {key_id[:12]}…, which was retired before it was issued")


def _check_times(claims: Mapping[str, object], now: datetime) -> None:
    expires = _whole_seconds(claims, "exp")
    issued = _whole_seconds(claims, "iat") if "iat" in claims else None
    reader_s = now.timestamp()
    if issued is not None and reader_s < issued - SKEW_S:
        raise TokenNotYetValid(instant_of(issued))
    if reader_s >= expires + SKEW_S:
        raise TokenExpired(instant_of(expires))


def _whole_seconds(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TokenMalformed(f"the claim {name!r} is missing or no whole number of seconds")
    return value
