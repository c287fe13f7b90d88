"""Atlas files and their signatures, for verbs that take an atlas. What is wrong in a file is wrong use: exit 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nordan_cli.errors import WrongUse
from nordan_cli.trust import read_bytes
from nordan_core.atlas.loader import DEFAULT_ATLAS, default_atlas_bytes
from nordan_core.proof.atlas_signature import SUFFIX, packaged_signature, read_signature, release_keys
from nordan_core.proof.errors import ProofError
from nordan_core.proof.keys import PublicKey, trusted
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas


@dataclass(frozen=True, slots=True)
class SignedFile:
    """An atlas as it was read; whose it is has to be checked."""

    name: str
    data: bytes
    signature: Mapping[str, object]
    atlas: Atlas


def read_signed(path: Path | None, signature: Path | None) -> SignedFile:
    """Return an atlas and the signature beside it; the packaged one where no file is given.

    Raises:
        WrongUse: a file cannot be read, or is not what it should be.
    """
    if path is None:
        return SignedFile(DEFAULT_ATLAS, *_checked(DEFAULT_ATLAS, default_atlas_bytes(), packaged_signature()))
    beside = path.with_name(path.name + SUFFIX) if signature is None else signature
    try:
        signed = read_signature(read_bytes(beside))
    except ProofError as error:
        raise WrongUse(f"{beside}: {error}") from error
    return SignedFile(str(path), *_checked(str(path), read_bytes(path), signed))


def trusted_keys(files: Sequence[Path]) -> Mapping[str, PublicKey]:
    """Return the keys of releases and those of some files, by id.

    Raises:
        WrongUse: a file holds no public key.
    """
    try:
        return {**release_keys(), **trusted(*(PublicKey.load(one) for one in files))}
    except ProofError as error:
        raise WrongUse(str(error)) from error


def whose(key: PublicKey) -> str:
    """Return the name of an atlas key for people."""
    return "a release of Nordan" if key.key_id in release_keys() else f"the key {key.key_id[:16]}…"


def _checked(name: str, data: bytes, signature: Mapping[str, object]) -> tuple[bytes, Mapping[str, object], Atlas]:
    try:
        return data, signature, parse_atlas(data)
    except PolicyError as error:
        raise WrongUse(f"{name}: {error}") from error
