"""Shares of shares, exactly: which names lead to each other in a ring, and what each of them then comes to.

Called by `ownership` alone, which says what the numbers mean. Nothing is rounded, so that a limit that is just met is
met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Line:
    """What one name comes to: so much, and parts of what others come to."""

    much: Fraction | int
    parts: Mapping[str, Fraction]
    """By name; together no more than the whole. A part of what has no line of its own counts for nothing here."""


def solved(lines: Mapping[str, Line]) -> dict[str, Fraction | int]:
    """Return what each name comes to; a ring that nothing enters comes to nothing.

    Each name is put into all lines once, its own included, so the work is the cube of how many there are.
    """
    for name in lines:
        alone = _without_itself(lines[name], name)
        lines = {other: _replaced(line, name, alone) for other, line in lines.items()}
    return {name: line.much for name, line in lines.items()}


def rings(above: Mapping[str, Sequence[str]]) -> list[frozenset[str]]:
    """Return all names in groups, whoever is above first. Those of a group lead to each other; most stand alone.

    This is Kosaraju's search for strongly connected components, without recursion, since chains may be long.
    """
    below: dict[str, list[str]] = {name: [] for name in above}
    for name, others in above.items():
        for other in others:
            below[other].append(name)
    found: list[frozenset[str]] = []
    taken: set[str] = set()
    for name in reversed(_as_finished(below)):
        ring = _reached(name, above, taken)
        if ring:
            found.append(frozenset(ring))
        taken |= ring
    return found


def _without_itself(line: Line, name: str) -> Line:
    """Return a line solved for its own name."""
    own = line.parts.get(name)
    if own is None:
        return line
    if own == 1:
        return Line(0, {})
    return Line(line.much / (1 - own), {one: part / (1 - own) for one, part in line.parts.items() if one != name})


def _replaced(line: Line, name: str, by: Line) -> Line:
    """Return a line with what a name stands for in its place."""
    if name not in line.parts:
        return line
    parts = dict(line.parts)
    share = parts.pop(name)
    for one, part in by.parts.items():
        parts[one] = parts.get(one, 0) + share * part
    return Line(line.much + share * by.much, parts)


def _as_finished(below: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all names, each after everything that it leads to and that was not on the way to it."""
    finished: list[str] = []
    seen: set[str] = set()
    waiting = [(name, False) for name in below]
    while waiting:
        name, is_finished = waiting.pop()
        if is_finished:
            finished.append(name)
        elif name not in seen:
            seen.add(name)
            waiting.append((name, True))
            waiting.extend((one, False) for one in below[name])
    return finished


def _reached(name: str, above: Mapping[str, Sequence[str]], taken: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found and one not in taken:
            found.add(one)
            waiting.extend(above[one])
    return found
