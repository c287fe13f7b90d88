"""The public keys that a person trusts, from the file that `nordan certificate keys` wrote. Asks no server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nordan_cli.decode import decode
from nordan_cli.errors import Unreadable, WrongUse
from nordan_cli.models import TrustedKeys
from nordan_core.proof.errors import KeyUnusable, ProofError
from nordan_core.proof.keys import KeyRing, PublicKey, trusted
from nordan_core.proof.succession import Purpose, Statement, follow


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys by use, then by id."""

    grant_keys: KeyRing
    certificate_keys: KeyRing

    def led_by(self, statements: Iterable[Statement]) -> Trust:
        """Return the keys that these lead to, by statements that they or their successors signed.

        Raises:
            ProofError: one key has two successors.
        """
        told = list(statements)
        return Trust(
            follow(self.grant_keys, told, Purpose.GRANT), follow(self.certificate_keys, told, Purpose.CERTIFICATE)
        )


def read_trust(path: Path) -> Trust:
    """Return the keys of a file.

    Raises:
        WrongUse: the file cannot be read or holds something else.
    """
    try:
        known = decode(TrustedKeys, json.loads(read_bytes(path)))
    except (ValueError, RecursionError, Unreadable) as error:
        raise WrongUse(f"{path} holds no public keys; nordan certificate keys --out {path} writes them") from error
    trust = Trust(_keyring(known.grant_keys, path), _keyring(known.certificate_keys, path))
    try:
        return trust.led_by(known.successions)
    except ProofError as error:
        raise WrongUse(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        WrongUse: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}") from error


def _keyring(pems: Mapping[str, str], path: Path) -> KeyRing:
    try:
        return trusted(*(PublicKey.from_pem(pem) for pem in pems.values()))
    except KeyUnusable as error:
        raise WrongUse(f"{path}: {error}") from error
