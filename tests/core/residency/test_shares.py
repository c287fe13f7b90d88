"""Shares of shares: groups that lead to each other, and what they come to, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations, product
from random import Random

import pytest

from nordan_core.residency.shares import Line, rings, solved

HALF = Fraction(1, 2)
NAMES = ("a", "b", "c", "d")


def lead_to(name: str, above: Mapping[str, list[str]]) -> set[str]:
    """Return all that a name leads to, itself included."""
    found = {name}
    for _ in above:
        found |= {other for one in found for other in above[one]}
    return found


def check_rings(above: dict[str, list[str]]) -> None:
    found = rings(above)
    assert all(found)
    assert sorted(name for ring in found for name in ring) == sorted(above), "each name is in one group"
    place = {name: number for number, ring in enumerate(found) for name in ring}
    for one, two in product(above, repeat=2):
        both = two in lead_to(one, above) and one in lead_to(two, above)
        assert (place[one] == place[two]) is both, (above, found)
        assert two not in above[one] or place[two] <= place[one], "whoever is above comes first"


def test_names_are_one_group_when_they_lead_to_each_other_and_whoever_is_above_comes_first() -> None:
    """Every graph of three names, and those of four in which each leads to at most two."""
    for names, most in ((NAMES[:3], 3), (NAMES, 2)):
        sides = [list(side) for size in range(most + 1) for side in combinations(names, size)]
        graphs = list(product(sides, repeat=len(names)))
        for graph in graphs if most == 3 else Random(1).sample(graphs, 2_000):
            check_rings(dict(zip(names, graph, strict=True)))


def test_a_chain_of_ten_thousand_is_grouped_without_recursion() -> None:
    above = {str(place): [str(place + 1)] for place in range(10_000)} | {"10000": []}
    assert [min(ring) for ring in rings(above)][:2] == ["10000", "9999"]


LINES: dict[str, tuple[dict[str, Line], dict[str, Fraction]]] = {
    "alone": ({"a": Line(Fraction(7), {})}, {"a": Fraction(7)}),
    "a part of itself": ({"a": Line(Fraction(30), {"a": Fraction(2, 5)})}, {"a": Fraction(50)}),
    "half of another": (
        {"a": Line(Fraction(1), {"b": HALF}), "b": Line(Fraction(4), {})},
        {"a": Fraction(3), "b": Fraction(4)},
    ),
    "half of each other": (
        {"a": Line(Fraction(3), {"b": HALF}), "b": Line(Fraction(0), {"a": HALF})},
        {"a": Fraction(4), "b": Fraction(2)},
    ),
    "each other wholly, and nothing enters": (
        {"a": Line(Fraction(0), {"b": Fraction(1)}), "b": Line(Fraction(0), {"a": Fraction(1)})},
        {"a": Fraction(0), "b": Fraction(0)},
    ),
    "a part of what has no line": ({"a": Line(Fraction(2), {"x": HALF})}, {"a": Fraction(2)}),
    "itself wholly": ({"a": Line(Fraction(0), {"a": Fraction(1)})}, {"a": Fraction(0)}),
}


@pytest.mark.parametrize(("lines", "wanted"), LINES.values(), ids=LINES)
def test_each_name_comes_to_what_its_line_says(lines: dict[str, Line], wanted: dict[str, Fraction]) -> None:
    assert solved(lines) == wanted


def test_whatever_is_put_together_what_comes_out_fits_every_line() -> None:
    draw, rings_seen = Random(5), 0
    for _ in range(300):
        lines = {name: a_line(draw) for name in NAMES}
        found = solved(lines)
        for name, line in lines.items():
            assert found[name] == line.much + sum(part * found[other] for other, part in line.parts.items())
        rings_seen += any(len(ring) > 1 for ring in rings({name: list(line.parts) for name, line in lines.items()}))
    assert rings_seen > 100


def a_line(draw: Random) -> Line:
    parts = {name: Fraction(draw.randint(1, 30), 100) for name in draw.sample(NAMES, draw.randint(0, 3))}
    return Line(Fraction(draw.randint(0, 100)), parts)
