"""Ed25519 keys on disk and in memory: who may sign, and whom a reader trusts.

Called by the api and the sealer (signing), by every reader of a grant, token or certificate (public halves), and
by `nordan up` as `python -m nordan_core.proof.keys create FILE`. A private key is written once, for its owner
only, and never overwritten, logged or put in an argument list.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nordan_core.proof.canonical import sha256_hex
from nordan_core.proof.errors import KeyFileExists, KeyUnusable, ProofError

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


class PublicKey:
    """The half that checks signatures; equal to another when the key is the same."""

    __slots__ = ("_der", "_key", "key_id")

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id: str = sha256_hex(self._der)

    @classmethod
    def from_pem(cls, pem: str | bytes) -> "PublicKey":
        """Read a PEM public key.

        Raises:
            KeyUnusable: the text is not the PEM form of an Ed25519 public key.
        """
        data = pem.encode("utf-8") if isinstance(pem, str) else pem
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyUnusable("the text is not a public key in PEM form") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyUnusable("the public key is not an Ed25519 key")
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """Read a PEM public key from a file.

        Raises:
            KeyUnusable: the file cannot be read or holds something else.
        """
        return cls.from_pem(_read(path))

    def pem(self) -> str:
        """Return the key as PEM text, newline at the end."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode("ascii")

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether this key's owner signed exactly these bytes."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._der == other._der

    def __hash__(self) -> int:
        return hash(self._der)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id[:12]})"


class SigningKey:
    """The half that signs; its representation never shows the secret."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public: PublicKey = PublicKey(key.public_key())

    @classmethod
    def create(cls) -> "SigningKey":
        """Make a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read an unencrypted PKCS #8 PEM key from a file.

        Raises:
            KeyUnusable: the file cannot be read or holds something else.
        """
        try:
            key = serialization.load_pem_private_key(_read(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyUnusable(f"{path} is not an unencrypted private key in PEM form") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"{path} is not an Ed25519 private key")
        return cls(key)

    def pem(self) -> str:
        """Return the secret itself as unencrypted PKCS #8 PEM text: for a file or a Secret, never for a log."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read, on disk before this returns.

        Raises:
            KeyFileExists: something is there already.
        """
        write_new(path, self.pem().encode("ascii"), PRIVATE_MODE)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature; the same bytes always give the same one."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.key_id[:12]})"


@dataclass(frozen=True, slots=True)
class Retirement:
    """The end of a key: what it signs beyond this does not hold, however good the signature is."""

    successor: str
    """Id of the key that took its place."""
    until: datetime
    """No grant of a later instant."""
    size: int
    """No head of a log with more entries, and no certificate over one."""


class KeyRing(Mapping[str, PublicKey]):
    """Public keys that a reader trusts, by id, and which of them have been retired (`succession.follow`)."""

    __slots__ = ("_keys", "retired")

    def __init__(self, keys: Mapping[str, PublicKey], retired: Mapping[str, Retirement] | None = None) -> None:
        self._keys = dict(keys)
        self.retired: Mapping[str, Retirement] = dict(retired or {})

    def live(self, now: datetime) -> "KeyRing":
        """Return the keys that may still sign at an instant."""
        gone = {one for one, end in self.retired.items() if now >= end.until}
        kept = {key_id: key for key_id, key in self._keys.items() if key_id not in gone}
        return KeyRing(kept, {key_id: end for key_id, end in self.retired.items() if key_id not in gone})

    def __getitem__(self, key_id: str) -> PublicKey:
        return self._keys[key_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing({sorted(key[:12] for key in self._keys)})"


def trusted(*keys: PublicKey) -> KeyRing:
    """Index public keys by id, as the readers of envelopes and tokens want them."""
    return KeyRing({key.key_id: key for key in keys})


def create_files(path: Path) -> PublicKey:
    """Write a new key to `path` (0600) and its public half to `path` with `.pub` added (0644).

    Raises:
        KeyFileExists: one of the two is there; nothing was changed.
    """
    public_path = path.with_name(path.name + ".pub")
    if public_path.exists():
        raise KeyFileExists(f"{public_path} exists; keys are never overwritten")
    key = SigningKey.create()
    key.save(path)
    write_new(public_path, key.public.pem().encode("ascii"), PUBLIC_MODE)
    return key.public


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `create FILE`; the exit code is 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m nordan_core.proof.keys", description="Make signing keys.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="write a new key to FILE and its public half to FILE.pub")
    create.add_argument("file", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    try:
        public = create_files(chosen.file)
    except (ProofError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{public.key_id}\n")
    return 0


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, on disk before this returns.

    Raises:
        KeyFileExists: something is there already.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise KeyFileExists(f"{path} exists; keys are never overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # the umask may only ever have narrowed it
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyUnusable(f"the key file {path} cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    raise SystemExit(main())
