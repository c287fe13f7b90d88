"""Prices are kept as they were written, and divided once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nordan_core.domain.money import Cost, Price

PRICES = st.decimals(min_value=0, max_value=10_000, places=6)
SECONDS = st.floats(min_value=0, max_value=10 * 365 * 86_400)


@settings(deadline=None)
@given(PRICES)
def test_a_price_is_what_was_written_and_a_gpu_hour_bills_exactly_that(eur: Decimal) -> None:
    price = Price.per_gpu_hour(eur)
    assert price.eur_per_gpu_h == eur
    assert price.cost(1, 3600.0).eur == eur
    assert price.cost(8, 450.0).eur == eur


@settings(deadline=None)
@given(PRICES, PRICES, SECONDS, SECONDS, st.integers(1, 4096))
def test_more_time_more_gpus_or_a_higher_price_never_cost_less(
    one: Decimal, other: Decimal, some_s: float, other_s: float, gpus: int
) -> None:
    low, high = sorted((Price.per_gpu_hour(one), Price.per_gpu_hour(other)))
    short_s, long_s = sorted((some_s, other_s))
    assert low.cost(gpus, short_s) <= low.cost(gpus, long_s) <= high.cost(gpus, long_s)
    assert high.cost(gpus, long_s) <= high.cost(gpus + 1, long_s)


@settings(deadline=None)
@given(PRICES, st.integers(0, 3 * 10**11), st.integers(1, 4096))
def test_a_cost_is_rounded_once_and_never_down(eur: Decimal, milliseconds: int, gpus: int) -> None:
    exact = Fraction(eur) * 1_000_000 * gpus * milliseconds / 3_600_000
    assert 0 <= Price.per_gpu_hour(eur).cost(gpus, milliseconds / 1000).micro_eur - exact < 1


def test_seconds_count_as_they_are_shown() -> None:
    """3.6 as a float is a little more, and would begin another micro-EUR."""
    assert Price.per_gpu_hour(Decimal(1)).cost(1, 3.6) == Cost(1000)
    assert Price.per_gpu_hour(Decimal(1)).cost(1, 1e-7) == Cost(1)


@pytest.mark.parametrize(
    ("eur", "shown"),
    [("2.45", "2.4500"), ("1", "1.0000"), ("0.123456", "0.123456"), ("10000", "10000.0000"), ("0", "0.0000")],
)
def test_a_price_is_shown_with_four_decimals_or_all_that_it_has(eur: str, shown: str) -> None:
    assert str(Price.per_gpu_hour(Decimal(eur)).eur_per_gpu_h) == shown


@pytest.mark.parametrize("eur", ["2.4500001", "1e-7", "1e-999999", "3.3000000000000003"])
def test_a_price_that_would_be_kept_as_another_is_refused(eur: str) -> None:
    with pytest.raises(ValueError, match="six decimals"):
        Price.per_gpu_hour(Decimal(eur))


def test_prices_of_the_version_before_count_as_it_billed_them() -> None:
    """It kept whole micro-EUR per GPU-second, rounded half up."""
    assert Price.stored(None, 681).cost(8, 100.0) == Cost(681 * 800)
    assert Price.stored(2_450_000, 681) == Price.per_gpu_hour(Decimal("2.45"))
    assert Price.per_gpu_hour(Decimal("2.45")).micro_eur_per_gpu_s == 681
    assert Price.per_gpu_hour(Decimal("0.0018")).micro_eur_per_gpu_s == 1


def test_a_price_that_was_let_through_with_more_decimals_is_the_nearest() -> None:
    assert Price.nearest(Decimal("2.4500006")) == Price(2_450_001)
