"""Key files while keys change: `python -m nordan_core.proof.rotation begin | finish | replace FILE`.

The new key lies beside the old one as `FILE.next`, until the process that signs has introduced it in the audit log;
then it takes the old one's place, which is gone. Api and sealer look for these files while they run, so nothing is
started again. Run it as whoever owns the keys, or as root.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nordan_core.proof.errors import KeyFileExists, KeyUnusable, ProofError
from nordan_core.proof.keys import PRIVATE_MODE, PUBLIC_MODE, PublicKey, SigningKey, write_new

#: Beside a key that nobody introduced: the public half of the lost one whose place it takes.
REPLACES = ".replaces"
NEXT = ".next"
PUBLIC = ".pub"


@dataclass(frozen=True, slots=True)
class Held:
    """The private keys that a process may sign with."""

    current: SigningKey
    next: SigningKey | None = None
    """The one that is to take its place."""
    replaces: PublicKey | None = None
    """The lost key that `current` takes the place of."""


class KeyFiles:
    """The key at a path and its successor, read again when one of the files has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[object, ...] = ()
        self._held: Held | None = None

    def held(self) -> Held:
        """Return what lies there now.

        Raises:
            KeyUnusable: a file cannot be read or holds something else.
        """
        seen = tuple(_stamp(_beside(self._path, one)) for one in ("", NEXT, REPLACES))
        if self._held is None or seen != self._seen:
            self._held, self._seen = read_held(self._path), seen
        return self._held


def read_held(path: Path) -> Held:
    """Read a key, its successor, and whose place it takes.

    Raises:
        KeyUnusable: a file cannot be read or holds something else.
    """
    following, replaces = _beside(path, NEXT), _beside(path, REPLACES)
    return Held(
        current=SigningKey.load(path),
        next=SigningKey.load(following) if following.exists() else None,
        replaces=PublicKey.load(replaces) if replaces.exists() else None,
    )


def begin(path: Path) -> PublicKey:
    """Write the next key beside the one at a path; whoever signs with that one introduces it.

    Raises:
        KeyFileExists: a change is under way already. KeyUnusable: there is no key to follow.
    """
    SigningKey.load(path)
    following = _beside(path, NEXT)
    if following.exists():
        raise KeyFileExists(f"{following} exists: a change is under way; finish it first")
    _beside(following, PUBLIC).unlink(missing_ok=True)
    key = SigningKey.create()
    _write(following, key, like=path)
    return key.public


def finish(path: Path, introduced: Collection[str]) -> PublicKey:
    """Put the next key in the old one's place, which is gone afterwards; once the log has introduced it.

    Raises:
        ProofError: there is no next key, or nobody has introduced it yet.
    """
    following = _beside(path, NEXT)
    key = SigningKey.load(following).public
    if key.key_id not in introduced:
        raise ProofError(f"the key {key.key_id[:12]}… is not introduced yet; without that, nobody would trust it")
    _beside(following, PUBLIC).replace(_beside(path, PUBLIC))
    following.replace(path)
    _beside(path, REPLACES).unlink(missing_ok=True)
    return key


def replace(path: Path, lost: PublicKey) -> PublicKey:
    """Put a new key in the place of one that is lost or in other hands, which nobody introduces.

    Raises:
        KeyUnusable: the key's own file is another's.
    """
    if path.exists() and SigningKey.load(path).public != lost:
        raise KeyUnusable(f"{path} holds another key than {lost.key_id[:12]}…")
    key = SigningKey.create()
    made = _beside(path, ".made")
    for left in (made, _beside(made, PUBLIC), _beside(path, REPLACES)):
        left.unlink(missing_ok=True)
    like = path if path.exists() else path.parent
    _write(made, key, like=like)
    write_new(_beside(path, REPLACES), lost.pem().encode("ascii"), PUBLIC_MODE)
    _give(_beside(path, REPLACES), like)
    for gone in (_beside(path, NEXT), _beside(_beside(path, NEXT), PUBLIC)):
        gone.unlink(missing_ok=True)
    _beside(made, PUBLIC).replace(_beside(path, PUBLIC))
    made.replace(path)
    return key.public


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the verbs; prints the id of the new key, or exits with 1 and a sentence on standard error."""
    chosen = _parser().parse_args(arguments)
    try:
        public = _run(chosen)
    except (ProofError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{public.key_id}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nordan_core.proof.rotation", description="Change a signing key that is in use."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, purpose in (
        ("begin", "write the next key beside FILE"),
        ("finish", "put the next key in FILE's place, once it is introduced"),
        ("replace", "put a new key in the place of one that is lost or stolen"),
    ):
        one = verbs.add_parser(verb, help=purpose)
        one.add_argument("file", type=Path, metavar="FILE")
        if verb == "finish":
            one.add_argument(
                "--keys", type=Path, required=True, metavar="FILE", help="public keys, fresh from: certificate keys"
            )
        if verb == "replace":
            one.add_argument("--lost", type=Path, required=True, metavar="FILE", help="public half of that key")
    return parser


def _run(chosen: argparse.Namespace) -> PublicKey:
    if chosen.verb == "begin":
        return begin(chosen.file)
    if chosen.verb == "finish":
        known = json.loads(chosen.keys.read_text())
        return finish(chosen.file, {*known["grant_keys"], *known["certificate_keys"]})
    return replace(chosen.file, PublicKey.load(chosen.lost))


def _write(path: Path, key: SigningKey, *, like: Path) -> None:
    """Write the public half first: where the private one is, its public one is too."""
    write_new(_beside(path, PUBLIC), key.public.pem().encode("ascii"), PUBLIC_MODE)
    _give(_beside(path, PUBLIC), like)
    made = _beside(path, ".part")
    made.unlink(missing_ok=True)
    write_new(made, key.pem().encode("ascii"), PRIVATE_MODE)
    _give(made, like)
    made.replace(path)


def _give(path: Path, like: Path) -> None:
    """Make a file its neighbour's owner's: root makes keys for whoever signs with them."""
    if os.geteuid() == 0:
        found = like.stat()
        os.chown(path, found.st_uid, found.st_gid)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


if __name__ == "__main__":
    raise SystemExit(main())
