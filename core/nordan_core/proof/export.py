"""The file of an exported audit log: one JSON object a line, entries in their order, each head behind what it covers.

`nordan admin audit export` writes it, `replay` reads it. An entry's line is `{"index", "salt", "form", "entry"}`, that
of a head `{"checkpoint": envelope}`. Reading never holds more than a line, and gives up on one longer than any entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.errors import ProofError
from nordan_core.proof.leaf import SALT_BYTES

#: The api takes bodies of 256 KiB, so no document in the log is larger than a few of them.
LONGEST_LINE = 4 << 20
_ENTRY = frozenset({"index", "salt", "form", "entry"})
_ENTRY_FIELDS = frozenset({"id", "act", "subject", "actor", "at", "organisation", "body"})


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One entry."""

    offset: int
    """Where its line begins in the file."""
    index: int
    salt: bytes
    form: int
    """Of its leaf; see `leaf.commitment`."""
    entry: Mapping[str, object]

    @property
    def act(self) -> str:
        """Return what was done."""
        return str(self.entry["act"])

    @property
    def subject(self) -> str:
        """Return what it was done to."""
        return str(self.entry["subject"])

    @property
    def body(self) -> Mapping[str, object]:
        """Return what the act says beyond that."""
        body = self.entry["body"]
        return body if isinstance(body, Mapping) else {}


@dataclass(frozen=True, slots=True)
class HeadLine:
    """One signed head; nothing about it is checked yet."""

    offset: int
    envelope: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that is neither."""

    offset: int
    why: str


Line = EntryLine | HeadLine | BrokenLine


def entry_line(index: int, salt: str, form: int, entry: Mapping[str, object]) -> bytes:
    """Return the line of an entry."""
    return canonical_json({"index": index, "salt": salt, "form": form, "entry": dict(entry)}) + b"\n"


def head_line(envelope: Mapping[str, object]) -> bytes:
    """Return the line of a signed head."""
    return canonical_json({"checkpoint": dict(envelope)}) + b"\n"


def lines_of(file: BinaryIO) -> Iterator[Line]:
    """Yield what the file's lines are, from its beginning; stops behind a line that is too long or was cut off."""
    file.seek(0)
    offset = 0
    while line := file.readline(LONGEST_LINE):
        if not line.endswith(b"\n"):
            why = "longer than any entry" if len(line) == LONGEST_LINE else "cut off in the middle"
            yield BrokenLine(offset, f"the line is {why}")
            return
        yield _parsed(offset, line)
        offset += len(line)


def entry_at(file: BinaryIO, offset: int) -> EntryLine:
    """Return the entry whose line begins at an offset.

    Raises:
        ProofError: there is none.
    """
    file.seek(offset)
    found = _parsed(offset, file.readline(LONGEST_LINE))
    if not isinstance(found, EntryLine):
        raise ProofError("the export changed while it was read")
    return found


def _parsed(offset: int, line: bytes) -> Line:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return BrokenLine(offset, "the line is not JSON")
    if isinstance(value, dict) and set(value) == {"checkpoint"} and isinstance(value["checkpoint"], dict):
        return HeadLine(offset, value["checkpoint"])
    if isinstance(value, dict) and set(value) == _ENTRY:
        return _entry(offset, value)
    return BrokenLine(offset, "the line is neither an entry nor a head")


def _entry(offset: int, value: Mapping[str, object]) -> Line:
    index, salt, form, entry = value["index"], value["salt"], value["form"], value["entry"]
    if type(index) is not int or index < 0 or type(form) is not int or not isinstance(salt, str):
        return BrokenLine(offset, "an entry has whole numbers as index and form, and a salt in hex")
    if not isinstance(entry, dict) or set(entry) != _ENTRY_FIELDS or not isinstance(entry["body"], dict):
        return BrokenLine(offset, f"an entry has exactly the fields {', '.join(sorted(_ENTRY_FIELDS))}")
    try:
        opened = bytes.fromhex(salt)
    except ValueError:
        opened = b""
    if len(opened) != SALT_BYTES:
        return BrokenLine(offset, f"a salt has {SALT_BYTES} bytes in hex")
    return EntryLine(offset, index, opened, form, entry)
