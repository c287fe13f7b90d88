"""Prices and costs: whole micro-EUR, so that sums never drift. Divided once, when a cost is worked out."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil

_MICRO = Decimal("0.000001")
_SHOWN = Decimal("0.0001")
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """Micro-EUR per GPU-hour: what was written, to the last digit."""

    micro_eur_per_gpu_h: int

    @classmethod
    def per_gpu_hour(cls, eur: Decimal) -> Price:
        """Take a price in EUR per GPU-hour.

        Raises:
            ValueError: it has more than six decimals, so it could only be kept as another one.
        """
        price = cls.nearest(eur)
        if price.micro_eur_per_gpu_h * _MICRO != eur:
            raise ValueError("a price has six decimals at most")
        return price

    @classmethod
    def nearest(cls, eur: Decimal) -> Price:
        """Take a price in EUR per GPU-hour that was written down when more decimals were let through."""
        return cls(int((eur / _MICRO).to_integral_value()))

    @classmethod
    def stored(cls, per_hour: int | None, per_second: int) -> Price:
        """Take what is stored; the version before this one knows of micro-EUR per GPU-second only."""
        return cls(per_second * _SECONDS_PER_HOUR if per_hour is None else per_hour)

    @property
    def micro_eur_per_gpu_s(self) -> int:
        """Return it in the unit of the version before this one, rounded half up."""
        return (self.micro_eur_per_gpu_h + _SECONDS_PER_HOUR // 2) // _SECONDS_PER_HOUR

    @property
    def eur_per_gpu_h(self) -> Decimal:
        """Return the price in EUR per GPU-hour, four decimals or the six that it needs."""
        exact = self.micro_eur_per_gpu_h * _MICRO
        short = exact.quantize(_SHOWN)
        return short if short == exact else exact

    def cost(self, gpus: int, seconds: float) -> Cost:
        """Return what `gpus` GPUs cost for that long; a begun micro-EUR counts whole.

        Seconds count as they are shown: 3.6 is 36 tenths, not the binary fraction above it.
        """
        return Cost(ceil(self.micro_eur_per_gpu_h * gpus * Fraction(repr(seconds)) / _SECONDS_PER_HOUR))


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """An amount in micro-EUR."""

    micro_eur: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.micro_eur + other.micro_eur)

    @property
    def eur(self) -> Decimal:
        """Return the amount in EUR, six decimals."""
        return (self.micro_eur * _MICRO).quantize(_MICRO)
