"""The atlas in force as a process sees it: what one thread reads late neither sets back nor becomes another's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from nordan_core.atlases import AtlasShelf
from nordan_core.store.unit_of_work import UnitOfWork
from support.atlases import changed, parsed

OLD, NEW = (changed(lambda _: None, version) for version in ("tests-2027-01", "tests-2027-02"))


def nothing() -> None:
    """Let nothing happen."""


@dataclass
class Stored:
    """What a transaction reads of atlases; `meanwhile` happens between its two statements."""

    number: int
    bytes_: bytes
    meanwhile: Callable[[], object] = nothing
    atlases: Stored = field(init=False)

    def __post_init__(self) -> None:
        self.atlases = self

    def newest(self) -> tuple[int, str]:
        return self.number, parsed(self.bytes_).digest

    def data(self, digests: Iterable[str]) -> dict[str, bytes]:
        self.meanwhile()
        return {parsed(self.bytes_).digest: self.bytes_} if list(digests) else {}


def within(shelf: AtlasShelf, number: int, data: bytes, meanwhile: Callable[[], object] = nothing) -> str:
    """Return the version of the atlas that a caller is told of."""
    return shelf.within(cast(UnitOfWork, Stored(number, data, meanwhile))).version


def test_who_reads_late_gets_what_he_read_and_sets_nobody_back() -> None:
    shelf = AtlasShelf()
    late = within(shelf, 2, OLD, meanwhile=lambda: within(shelf, 3, NEW))
    assert (late, shelf.newest.version) == ("tests-2027-01", "tests-2027-02")
    assert within(shelf, 2, OLD) == "tests-2027-01"
    assert shelf.newest.version == "tests-2027-02"


def test_who_holds_the_epoch_is_never_given_what_another_read_late() -> None:
    shelf = AtlasShelf()
    held = within(shelf, 3, NEW, meanwhile=lambda: within(shelf, 2, OLD))
    assert (held, shelf.newest.version) == ("tests-2027-02", "tests-2027-02")
