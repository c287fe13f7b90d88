"""The public keys that a person trusts, from the file that `nordan certificate keys` wrote. Asks no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nordan_cli.decode import decode
from nordan_cli.errors import Unreadable, WrongUse
from nordan_cli.models import TrustedKeys
from nordan_core.proof.errors import KeyUnusable
from nordan_core.proof.keys import PublicKey, trusted


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys by use, then by id."""

    grant_keys: Mapping[str, PublicKey]
    certificate_keys: Mapping[str, PublicKey]


def read_trust(path: Path) -> Trust:
    """Return the keys of a file.

    Raises:
        WrongUse: the file cannot be read or holds something else.
    """
    try:
        known = decode(TrustedKeys, json.loads(read_bytes(path)))
    except (ValueError, RecursionError, Unreadable) as error:
        raise WrongUse(f"{path} holds no public keys; nordan certificate keys --out {path} writes them") from error
    return Trust(_keyring(known.grant_keys, path), _keyring(known.certificate_keys, path))


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        WrongUse: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}") from error


def _keyring(pems: Mapping[str, str], path: Path) -> Mapping[str, PublicKey]:
    try:
        return trusted(*(PublicKey.from_pem(pem) for pem in pems.values()))
    except KeyUnusable as error:
        raise WrongUse(f"{path}: {error}") from error
