"""Prices and costs: integers of micro-EUR, so that sums never drift."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

_MICRO = Decimal(1_000_000)
_SECONDS_PER_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """Micro-EUR per GPU-second."""

    micro_eur_per_gpu_s: int

    @classmethod
    def per_gpu_hour(cls, eur: Decimal) -> Price:
        """Convert a price in EUR per GPU-hour; rounds half up to a whole micro-EUR per second."""
        per_second = (eur * _MICRO / _SECONDS_PER_HOUR).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        return cls(int(per_second))

    @property
    def eur_per_gpu_h(self) -> Decimal:
        """Return the price in EUR per GPU-hour, four decimals."""
        return (Decimal(self.micro_eur_per_gpu_s) * _SECONDS_PER_HOUR / _MICRO).quantize(Decimal("0.0001"))

    def cost(self, gpus: int, seconds: float) -> Cost:
        """Return what `gpus` GPUs cost for that long; a begun millisecond counts whole."""
        milliseconds = -int(-seconds * 1000 // 1)
        return Cost(-(-self.micro_eur_per_gpu_s * gpus * milliseconds // 1000))


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """An amount in micro-EUR."""

    micro_eur: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.micro_eur + other.micro_eur)

    @property
    def eur(self) -> Decimal:
        """Return the amount in EUR, six decimals."""
        return (Decimal(self.micro_eur) / _MICRO).quantize(Decimal("0.000001"))
