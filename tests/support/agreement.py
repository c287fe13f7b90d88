"""The core and the second judge side by side over drawn cases; `make agree` runs a million.

Every answer is compared as the set of failing facets, never as allowed or refused alone. What is counted shows that the
cases say something: for each act and facet, how often it was met and how often it failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from random import Random
from typing import Any

from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.facts_text import parse_control_plane, parse_pool_facts
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage, permits
from nordan_core.residency.layers import Layer, LayerKind, effective
from nordan_core.residency.policy import Policy, meet, parse_policy, policy_document
from nordan_core.residency.verdicts import Verdict
from support import second_judge
from support.drawn_worlds import ENDS, FACETS, INSTANTS, PLACES, Question, World, draw_question, draw_world

QUESTIONS_PER_WORLD = 100
_FILE = resources.files("nordan_core.atlas").joinpath("europe-2026-11.json").read_bytes()
ATLAS = parse_atlas(_FILE)
SECOND = second_judge.SecondJudge(second_judge.Atlas(json.loads(_FILE)))
ASKED = {
    "run": set(FACETS),
    "store": set(FACETS) - second_judge.NOT_ASKED_OF_STORAGE,
    "describe": set(second_judge.ASKED_OF_A_CONTROL_PLANE),
    "read": {"access", "valid_until"},
}
NOT_CASES = ("meet", "effective", "missing")
"""Compared as well, but they are no verdicts."""
ACTS = ("permits", "run", "store", "describe", "read")
Seen = Counter[tuple[str, str, str]]


@dataclass(frozen=True)
class Disagreement:
    """Where the two differ, with the documents that show it."""

    what: str
    core: Any
    second: Any
    world: World
    question: Question


@dataclass
class Tally:
    """What was compared and how it went."""

    cases: int = 0
    """Questions that were judged twice: one act, under one policy, on one set of facts, at one instant."""
    seen: Seen = field(default_factory=Counter)
    """How often each (act, facet, `met` or `failed`) came up."""
    disagreements: list[Disagreement] = field(default_factory=list)


def compare(seed: int, cases: int, tally: Tally, *, per_world: int = QUESTIONS_PER_WORLD) -> Iterator[Tally]:
    """Judge at least `cases` drawn cases twice; yields the tally after each world."""
    draw = Random(seed)
    while tally.cases < cases:
        world = draw_world(draw)
        sides = _Sides(world)
        for _ in range(per_world):
            question = draw_question(draw)
            for what, core, second in sides.answers(question, draw, tally.seen):
                if core != second:
                    tally.disagreements.append(Disagreement(what, core, second, world, question))
                tally.cases += what not in NOT_CASES
        yield tally


class _Sides:
    """One world as each of the two reads it."""

    def __init__(self, world: World) -> None:
        self.pool: PoolFacts = parse_pool_facts(world.pool, ATLAS)
        self.plane: ControlPlaneFacts = parse_control_plane(world.plane, ATLAS)
        self.second_pool = second_judge.Facts(world.pool)
        self.second_plane = second_judge.Facts(world.plane)

    def answers(self, asked: Question, draw: Random, seen: Seen) -> Iterator[tuple[str, Any, Any]]:
        """Yield (what, the core's answer, the second judge's answer) for every act."""
        now = datetime.fromisoformat(asked.instant)
        policies = [parse_policy(policy, ATLAS) for _, policy in asked.layers]
        yield from self._meets(policies, asked, now, seen)
        layers = [
            Layer(LayerKind(kind), str(place), policy)
            for place, ((kind, _), policy) in enumerate(zip(asked.layers, policies, strict=True))
        ]
        of = effective(layers, has_content=asked.has_content)
        other = second_judge.effective(asked.layers, has_content=asked.has_content)
        yield "effective", _plain(second_judge.statements(policy_document(of.policy))), _plain(other[0])
        yield "missing", set(of.missing), other[1]
        runs = judge(of, self.pool, ATLAS, now)
        acts: dict[str, tuple[Verdict, set[str]]] = {
            "run": (runs, SECOND.runs(other, self.second_pool, now)),
            "store": (judge_storage(of, self.pool, ATLAS, now), SECOND.stores(other, self.second_pool, now)),
            "describe": (
                judge_control_plane(of, self.plane, ATLAS, now),
                SECOND.describes(other, self.second_plane, now),
            ),
            "read": (judge_reader(of, asked.reader, ATLAS, now), SECOND.reads(other, asked.reader, now)),
        }
        for act, (verdict, fails) in acts.items():
            yield act, set(verdict.failing), fails
            _count(seen, act, ({*other[0], *other[1]} & ASKED[act]) | fails, fails)
        later = _later(runs, now, draw)
        if later is not None:
            yield f"until {later}", acts["run"][1], SECOND.runs(other, self.second_pool, later)
            seen["until", "all", "met"] += 1

    def _meets(
        self, policies: list[Policy], asked: Question, now: datetime, seen: Seen
    ) -> Iterator[tuple[str, Any, Any]]:
        if len(policies) < 2:
            return
        met = meet(policies[0], policies[-1])
        one, two = (second_judge.statements(asked.layers[place][1]) for place in (0, -1))
        other = second_judge.meet(one, two)
        yield "meet", _plain(second_judge.statements(policy_document(met))), _plain(other)
        fails = SECOND.runs((other, set()), self.second_pool, now)
        yield "permits", set(permits(met, self.pool, ATLAS, now).failing), fails
        _count(seen, "permits", {*other, *fails}, fails)


def _count(seen: Seen, act: str, asked: set[str], fails: set[str]) -> None:
    seen.update((act, facet, "failed" if facet in fails else "met") for facet in asked)
    seen[act, "all", "failed" if fails else "met"] += 1


def _later(verdict: Verdict, now: datetime, draw: Random) -> datetime | None:
    """Return an instant within the time that a verdict is good for, at which something somewhere changes."""
    first = bisect_right(EDGES, now)
    end = len(EDGES) if verdict.good_until is None else bisect_left(EDGES, verdict.good_until)
    return EDGES[draw.randrange(first, end)] if first < end else None


def _plain(stated: second_judge.Statements) -> second_judge.Statements:
    """Return statements in a form in which equal meanings by name are equal values."""
    plain = dict(stated)
    for facet in plain.keys() & set(PLACES):
        unions = {frozenset(places) for places in plain[facet]}
        plain[facet] = {one for one in unions if not any(other < one for other in unions)}
    if "ownership_max" in plain:
        groups = {group for group, _ in plain["ownership_max"]}
        every = {(group, limit): 100 for group in groups for limit in ("single", "collective")}
        plain["ownership_max"] = every | plain["ownership_max"]
    if "seal_min" in plain:
        plain["seal_min"] = list(plain["seal_min"])
    return plain


def _edges() -> list[datetime]:
    document = json.loads(_FILE)
    entries = [*document["adequacy"], *(one for group in document["groups"].values() for one in group["members"])]
    edges = {second_judge.instant(entry[key]) for entry in entries for key in ("from", "until") if key in entry}
    return sorted(edges | {second_judge.instant(text) for text in (*ENDS, *INSTANTS)})


EDGES = _edges()


def show(tally: Tally) -> str:
    """Return the counts as a table: how often each act met and failed each facet."""
    rows = sorted({(act, facet) for act, facet, _ in tally.seen})
    lines = [
        f"{act:9} {facet:16} met {tally.seen[act, facet, 'met']:9} failed {tally.seen[act, facet, 'failed']:9}"
        for act, facet in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Compare and say what came out; exit 1 on any disagreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-shown", type=int, default=3)
    asked = parser.parse_args()
    tally, begun, shown = Tally(), time.monotonic(), 0
    for place, _ in enumerate(compare(asked.seed, asked.cases, tally)):
        for one in tally.disagreements[shown : asked.most_shown]:
            print(f"{one.what}: core {one.core}, second {one.second}\n  {one.question}\n  {one.world}", flush=True)
        shown = len(tally.disagreements)
        if place % 100 == 0:
            print(f"{tally.cases} cases, {shown} differ, {time.monotonic() - begun:.0f} s", flush=True)
    print(show(tally))
    print(f"{sum(tally.seen[act, 'all', 'met'] for act in ACTS)} allowed, ", end="")
    print(f"{sum(tally.seen[act, 'all', 'failed'] for act in ACTS)} refused")
    print(f"seed {asked.seed}: {tally.cases} cases, {len(tally.disagreements)} answers differ")
    sys.exit(1 if tally.disagreements else 0)


if __name__ == "__main__":
    main()
