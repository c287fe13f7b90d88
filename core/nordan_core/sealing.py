"""Secrets that the control plane keeps in its database are sealed: a copy of the database alone opens none.

The api seals the URL of a region's broker, which holds a password, when the region joins; the scheduler's relay opens
it. Both read the key from a file; nothing else has it. AES-256-GCM, the label being authenticated with the text: what
was sealed for one region cannot be passed off as another's.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nordan_core.domain.errors import OperatorError
from nordan_core.settings import read_secret

#: Shorter secrets may have been thought up by a person.
SHORTEST_SECRET = 32
#: First byte of what is sealed; another form gets another number.
_FORM = b"\x01"
_NONCE_BYTES = 12


class SealingKey:
    """Seals and opens; its representation never shows the secret."""

    __slots__ = ("_cipher",)

    def __init__(self, secret: str) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=b"nordan sealing 1").derive(secret.encode())
        self._cipher = AESGCM(derived)

    @classmethod
    def load(cls, path: Path) -> SealingKey:
        """Read the secret that the key is derived from.

        Raises:
            OperatorError: the file cannot be read or is too short to hold a random secret.
        """
        secret = read_secret(path)
        if len(secret) < SHORTEST_SECRET:
            raise OperatorError(
                f"the secret in {path} has {len(secret)} characters; it takes {SHORTEST_SECRET} random ones or more"
            )
        return cls(secret)

    def seal(self, text: str, label: str) -> bytes:
        """Return the text sealed under a label; the same text gives other bytes each time."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, text.encode(), _FORM + label.encode())

    def open(self, sealed: bytes, label: str) -> str:
        """Return what was sealed under this label.

        Raises:
            OperatorError: another key, another label, or bytes that were changed.
        """
        form, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, form + label.encode()).decode()
        except (InvalidTag, ValueError):
            raise OperatorError(
                f"what is sealed as {label} does not open with this key; api and schedulers must have the same "
                "NORDAN_SEALING_KEY_FILE, and after a change of it the regions join again"
            ) from None


def broker_label(region: str) -> str:
    """Return the label under which a region's broker URL is sealed."""
    return f"broker of {region}"
