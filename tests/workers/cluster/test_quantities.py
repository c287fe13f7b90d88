from __future__ import annotations

from fractions import Fraction

import pytest

from nordan_workers.cluster import quantities


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (2, 2),
        (0.5, Fraction(1, 2)),
        ("1500m", Fraction(3, 2)),
        ("250u", Fraction(1, 4000)),
        ("7n", Fraction(7, 10**9)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("2k", 2000),
        ("3M", 3 * 10**6),
        ("1Gi", 1 << 30),
        ("1.5Ti", 3 << 39),
        ("12E", 12 * 10**18),
        ("12e3", 12_000),
        ("12E-1", Fraction(6, 5)),
        ("-1", -1),
    ],
)
def test_a_quantity_is_read_exactly(text: str | float, value: Fraction) -> None:
    assert quantities.parse(text) == value


@pytest.mark.parametrize("text", ["", "m", "1KB", "1 Gi", "0x10", "1e", "Gi", "one", "1mi"])
def test_what_is_no_quantity_is_an_error_that_says_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantities.parse(text)


def test_rounding_is_against_us() -> None:
    """Down for what a node offers, up for what others ask for."""
    assert (quantities.cpu_milli("1.0009"), quantities.cpu_milli("1.0001", is_asked=True)) == (1000, 1001)
    assert (quantities.memory_mib("1048577"), quantities.memory_mib("1048577", is_asked=True)) == (1, 2)
    assert quantities.count("8") == 8
