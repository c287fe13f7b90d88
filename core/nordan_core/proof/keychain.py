"""The signing keys as an exported log tells of them: each introduced by the one before it, at its own place in the log.

Used by `replay`. The entry that introduces a certificate key is the last thing before the first head that the key may
sign, and the first that its forerunner may not: no clock has a say in who signs what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nordan_core.proof.errors import ProofError
from nordan_core.proof.export import EntryLine
from nordan_core.proof.keys import KeyRing
from nordan_core.proof.succession import (
    ACT,
    SUBJECT,
    Purpose,
    Succession,
    read_succession,
    read_unpinned,
    with_succession,
)


class Keychain:
    """Trusted keys, growing with the log."""

    def __init__(self, certificate_keys: KeyRing, grant_keys: KeyRing | None) -> None:
        self.certificate_keys = certificate_keys
        self._grant_keys = grant_keys

    def faults(self, line: EntryLine) -> Iterator[str]:
        """Yield what is wrong with an entry about a key; take the key up where nothing is."""
        if line.act != ACT and not line.subject.startswith(SUBJECT):
            return
        try:
            found = self._read(line)
            if found.purpose is Purpose.CERTIFICATE:
                self.certificate_keys = with_succession(self.certificate_keys, found)
            elif self._grant_keys is not None:
                self._grant_keys = with_succession(self._grant_keys, found)
        except ProofError as error:
            yield str(error)

    def _read(self, line: EntryLine) -> Succession:
        statement = line.body.get("statement")
        if line.act != ACT or not isinstance(statement, Mapping):
            raise ProofError("an entry about a signing key holds the statement that introduces it")
        said = read_unpinned(statement)
        if line.subject != said.purpose.subject:
            raise ProofError(f"its statement is about the {said.purpose} key, not about {line.subject}")
        if said.purpose is Purpose.CERTIFICATE:
            if said.size != line.index:
                raise ProofError(f"its statement was signed for entry {said.size}, and stands here as {line.index}")
            return read_succession(statement, self.certificate_keys)
        return said if self._grant_keys is None else read_succession(statement, self._grant_keys)
