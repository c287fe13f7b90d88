"""The proof package's errors, so that a caller can tell a forged paper from a late or a garbled one.

Raised by every module beside this one; mapped to answers by api, gateway, supervisor and CLI.

NordanError
└── ProofError
    ├── NotCanonical          bytes or a value without exactly one JSON form
    ├── KeyUnusable           a key file or PEM that holds no Ed25519 key of the wanted half
    ├── KeyFileExists         creating a key would overwrite one
    ├── EnvelopeError
    │   ├── EnvelopeMalformed     not a DSSE envelope of ours
    │   ├── PayloadTypeMismatch   an honest envelope in the wrong place
    │   └── SignatureInvalid      unknown key, or the signature does not fit
    ├── TokenError
    │   ├── TokenMalformed        not a token, or claims of the wrong form
    │   ├── TokenForged           not signed by a trusted key for this kind
    │   ├── TokenExpired          was good until `expired_at`
    │   └── TokenNotYetValid      issued in the reader's future
    └── TreeError             impossible index, size or node asked of a Merkle tree
"""

from datetime import datetime

from nordan_core.domain.errors import NordanError


class ProofError(NordanError):
    """Something that should prove a fact does not."""


class NotCanonical(ProofError):
    """A value has no canonical JSON form, or bytes are not the canonical form of anything."""


class KeyUnusable(ProofError):
    """A file or PEM text does not hold the Ed25519 key that was asked for."""


class KeyFileExists(ProofError):
    """A key file is already there; keys are never overwritten."""


class EnvelopeError(ProofError):
    """A DSSE envelope cannot be opened."""


class EnvelopeMalformed(EnvelopeError):
    """The value is not a DSSE envelope with one signature in canonical base64."""


class PayloadTypeMismatch(EnvelopeError):
    """The envelope holds another kind of payload than the one that was asked for."""

    def __init__(self, *, want: str, have: str) -> None:
        super().__init__(f"the envelope holds {have!r}, not {want!r}")
        self.want = want
        self.have = have


class SignatureInvalid(EnvelopeError):
    """No trusted key made this signature over this payload."""


class TokenError(ProofError):
    """A token must not be honoured."""


class TokenMalformed(TokenError):
    """The text is no token, or its claims lack a field or have a wrong type."""


class TokenForged(TokenError):
    """The token is not signed by a trusted key, or is signed for another kind of use."""


class TokenExpired(TokenError):
    """The token was good once."""

    def __init__(self, expired_at: datetime) -> None:
        super().__init__(f"the token expired at {expired_at.isoformat()}; ask for a new one")
        self.expired_at = expired_at


class TokenNotYetValid(TokenError):
    """The token says that it was issued in the reader's future: one of the two clocks is wrong."""

    def __init__(self, issued_at: datetime) -> None:
        super().__init__(
            f"the token was issued at {issued_at.isoformat()}, later than this machine's time; check both clocks"
        )
        self.issued_at = issued_at


class TreeError(ProofError):
    """An index, size or node that the Merkle tree cannot have."""
