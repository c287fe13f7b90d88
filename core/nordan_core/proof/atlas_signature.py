"""Whose atlas is it: signatures of atlas files, and the keys that releases of Nordan sign theirs with.

Called by the command line (`nordan admin atlas`), by the api before an atlas comes into force, and by the replay of the
log. The private half of a release's key is thrown away once its atlas is signed; its public half is in the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from nordan_core.atlas.loader import default_atlas_signature, release_key_pems
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.detached import check_beside, sign_beside
from nordan_core.proof.dsse import envelope_from_bytes
from nordan_core.proof.keys import PublicKey, SigningKey, trusted

PAYLOAD_TYPE = "application/vnd.nordan.atlas+json"
SUFFIX = ".sig"
"""What the file of a signature is called, behind the name of its atlas."""


@cache
def release_keys() -> Mapping[str, PublicKey]:
    """Return the keys that releases of Nordan signed atlases with, by id."""
    return trusted(*(PublicKey.from_pem(pem) for pem in release_key_pems()))


def packaged_signature() -> Mapping[str, object]:
    """Return the signature that the packaged atlas comes with."""
    return read_signature(default_atlas_signature())


def sign_atlas(data: bytes, key: SigningKey) -> dict[str, object]:
    """Return the signature of an atlas file's bytes."""
    return sign_beside(PAYLOAD_TYPE, data, key)


def check_atlas(data: bytes, signature: Mapping[str, object], keys: Mapping[str, PublicKey]) -> PublicKey:
    """Return the one of the keys that signed an atlas file.

    Raises:
        ProofError: none of them signed exactly these bytes as an atlas.
    """
    return check_beside(signature, data, PAYLOAD_TYPE, keys)


def signature_bytes(signature: Mapping[str, object]) -> bytes:
    """Return the one text of a signature's file."""
    return canonical_json(signature) + b"\n"


def read_signature(data: bytes) -> dict[str, object]:
    """Return the signature in a file.

    Raises:
        EnvelopeMalformed: it holds none.
    """
    return envelope_from_bytes(data)
