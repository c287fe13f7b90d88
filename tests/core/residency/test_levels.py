"""Ordered levels compare by strength and print as documents write them."""

from __future__ import annotations

import pytest

from nordan_core.residency.levels import Compute, DataClass, Encryption, Evidence, Level, Tenancy, parse_level

ORDERS: dict[type[Level], list[str]] = {
    DataClass: ["public", "internal", "confidential", "restricted"],
    Encryption: ["none", "rest", "byok", "hyok"],
    Compute: ["none", "tee", "tee_gpu"],
    Tenancy: ["shared", "dedicated", "single"],
    Evidence: ["E0", "E1", "E2", "E3", "E4"],
}


@pytest.mark.parametrize(("kind", "words"), ORDERS.items())
def test_levels_are_ordered_from_weak_to_strong(kind: type[Level], words: list[str]) -> None:
    assert [level.word for level in sorted(kind)] == words
    assert [parse_level(word, kind, "f").word for word in words] == words
