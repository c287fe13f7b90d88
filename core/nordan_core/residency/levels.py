"""The ordered levels of a policy. Comparing two is comparing strength; the document word is `word`."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from nordan_core.residency.reading import read_word


class Level(IntEnum):
    """An ordered level; members are listed from weakest to strongest."""

    @property
    def word(self) -> str:
        """Return the level as documents write it."""
        return self.name.lower()


class DataClass(Level):
    """How much harm disclosure would do."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    RESTRICTED = 3


class Encryption(Level):
    """Who holds the keys of data at rest: nobody, the provider, the tenant inside, the tenant outside."""

    NONE = 0
    REST = 1
    BYOK = 2
    HYOK = 3


class Compute(Level):
    """What shields data in use: nothing, a CPU enclave, an enclave that reaches into the GPU."""

    NONE = 0
    TEE = 1
    TEE_GPU = 2


class Tenancy(Level):
    """Who else is on the machines: anyone, nobody on the same node, nobody in the pool."""

    SHARED = 0
    DEDICATED = 1
    SINGLE = 2


class Evidence(Level):
    """How the pool's place is known: said, contracted, audited, attested by hardware, attested and measured."""

    E0 = 0
    E1 = 1
    E2 = 2
    E3 = 3
    E4 = 4

    @property
    def word(self) -> str:
        """Return the level as documents write it: in capitals."""
        return self.name


AnyLevel = TypeVar("AnyLevel", bound=Level)


def parse_level(value: object, kind: type[AnyLevel], field: str) -> AnyLevel:
    """Return the level that a document names, exactly as it is written.

    Raises:
        PolicyError: for any other word, with the nearest one.
    """
    words = {member.word: member for member in kind}
    return words[read_word(value, field, tuple(words))]
