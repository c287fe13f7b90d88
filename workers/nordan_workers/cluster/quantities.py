"""Quantities as Kubernetes writes them: `1500m`, `64Gi`, `2e3`. Pure."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

_FORM = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[eE][+-]?\d+|[A-Za-z]*)")
_SUFFIXES = {
    "": Fraction(1),
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
    **{letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", start=1)},
}
_MIB = 1 << 20


@lru_cache(4096)
def parse(text: str | float) -> Fraction:
    """Return the exact value of a quantity; a number of JSON is one, too. A cluster's pods repeat few of them.

    Raises:
        ValueError: it is none.
    """
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m or 64Gi")
    suffix = match["suffix"]
    if suffix[:1] in {"e", "E"} and suffix[1:]:
        return Fraction(match["number"] + suffix)
    if suffix not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity: there is no unit {suffix!r}")
    return Fraction(match["number"]) * _SUFFIXES[suffix]


def cpu_milli(text: str | float, *, is_asked: bool = False) -> int:
    """Return thousandths of a CPU, rounded against us: down for what is offered, up for what others ask for."""
    return (ceil if is_asked else floor)(parse(text) * 1000)


def memory_mib(text: str | float, *, is_asked: bool = False) -> int:
    """Return MiB, rounded against us."""
    return (ceil if is_asked else floor)(parse(text) / _MIB)


def count(text: str | float) -> int:
    """Return whole devices."""
    return floor(parse(text))
