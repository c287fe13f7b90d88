"""What residency costs the engine: decisions per second of processor with and without it.

    python benchmarks/overhead.py [--pools 1000] [--policies 10000]

Target: 0.95 of what it decides without. A plan looks at 2,000 jobs; each has a policy of its own, so five plans see ten
thousand. The word on each policy is there already, as it is in the running cycle, and lets all pools through: one that
rules pools out spares the engine the trying of them, and would flatter the law.

Then what those words cost, over pools of forty regions and twenty-five providers, with policies of ten facets out of
some hundreds of values: from nothing (*cold*), asked again (*warm*), and after steps of the residency epoch.

Seconds are of the processor, since other work on the machine moves the clock.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import paths  # noqa: F401  makes `support` importable

from nordan_core.domain.queueing import QueuedJob, Residency
from nordan_core.facts import FactsBook, SharedMasks
from nordan_core.residency.entities import Entity
from nordan_core.residency.facts import Certification, ControlPlaneFacts, Endpoint, EndpointKind, PoolFacts, Service
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import Encryption, Evidence
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.engine.snapshot import Snapshot
from nordan_scheduler.wording import Wording
from support.queueing import a_job, a_node, a_pool, allowing
from support.residency import ATLAS, FAR, as_owner
from support.residency import a_pool as facts_of

NOW = datetime(2026, 11, 29, tzinfo=UTC)
JOBS = 2_000
SAMPLE = 5
TURNS = 3
TERRITORIES = (
    "FR",
    "DE",
    "SE",
    "NO",
    "FI",
    "NL",
    "BE",
    "ES",
    "IT",
    "PT",
    "PL",
    "AT",
    "IE",
    "DK",
    "CZ",
    "CH",
    "GB",
    "IS",
)
GROUPS = ("EU", "EEA", "EFTA")
REGIONS = 40
PROVIDERS = 25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=int, default=1_000)
    parser.add_argument("--policies", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"{arguments.pools} pools, {arguments.policies} policies; load average {os.getloadavg()[0]:.1f}", flush=True)
    ratio = _warm(arguments.pools, arguments.policies)
    print(f"warm: ratio {ratio:.3f}, target 0.95", flush=True)
    _cold(arguments.pools, arguments.policies)


def _warm(pool_count: int, policy_count: int) -> float:
    pools = tuple(a_pool(f"p{number:04}", price=700 + number % 50) for number in range(pool_count))
    nodes = tuple(a_node(f"{pool.name}-0", pool=pool.name) for pool in pools)
    names = [str(pool.name) for pool in pools]
    # All pools for each: a policy that rules pools out spares the engine the trying of them, and would flatter the law.
    words: dict[str, Residency] = {str(number): allowing(*names) for number in range(policy_count)}
    ratios: list[float] = []
    rest = iter(words)
    while keys := tuple(islice(rest, JOBS)):
        with_law, without = (Snapshot(jobs, pools, nodes, said, NOW) for jobs, said in _both(keys, words, names))
        # In turns, so that whatever else the machine does meets both.
        rates = [(_rate(with_law), _rate(without)) for _ in range(TURNS)]
        on, off = (statistics.median(side) for side in zip(*rates, strict=True))
        ratios.append(on / off)
        print(f"  plan over {len(keys)}: {on:.0f} decisions/s with, {off:.0f} without; {on / off:.3f}", flush=True)
    return statistics.mean(ratios)


def _both(
    keys: tuple[str, ...], words: dict[str, Residency], names: list[str]
) -> tuple[tuple[tuple[QueuedJob, ...], dict[str, Residency]], ...]:
    with_law = tuple(a_job(key, policy=key) for key in keys)
    without = tuple(a_job(key, policy="any") for key in keys)
    return (with_law, {key: words[key] for key in keys}), (without, {"any": allowing(*names)})


def _rate(snapshot: Snapshot) -> float:
    began = time.process_time()
    decided = plan(snapshot, NOW, 1)
    return (len(decided.decisions) + len(decided.unplaced)) / (time.process_time() - began)


def _cold(pool_count: int, policy_count: int) -> None:
    facts = tuple(_facts(pool_count))
    policies = tuple(_policies(policy_count))
    print(f"cold: {len({one.digest for one in policies})} distinct policies", flush=True)
    one_s = _judge_s(policies[:SAMPLE], facts)
    print(f"  the judge, policy by policy, pool by pool: {one_s * 1000:.1f} ms a policy")
    wording, masks = Wording(), SharedMasks()
    book = _book(1, facts, masks)
    for what, seen in (
        ("from nothing", book),
        ("warm", book),
        ("after a step that changed nothing of theirs", _book(2, facts, masks)),
        ("after a step that changed one pool", _book(3, _moved(facts), masks)),
    ):
        took_s = _say(wording, policies, seen)
        print(
            f"  {policy_count} words {what}: {took_s:.2f} s, {took_s / policy_count * 1000:.3f} ms a policy", flush=True
        )
    lawful = [wording.residency(of, book, NOW).allowed for of in policies]
    print(f"  pools let through: {statistics.mean(map(len, lawful)):.0f} of {pool_count} on average, "
          f"{len(set(lawful))} distinct sets")  # fmt: skip


def _judge_s(policies: tuple[Effective, ...], facts: tuple[PoolFacts, ...]) -> float:
    began = time.process_time()
    for of in policies:
        for pool in facts:
            judge(of, pool, ATLAS, NOW)
    return (time.process_time() - began) / len(policies)


def _say(wording: Wording, policies: tuple[Effective, ...], book: FactsBook) -> float:
    began = time.process_time()
    for of in policies:
        wording.residency(of, book, NOW)
    return time.process_time() - began


def _book(epoch: int, facts: tuple[PoolFacts, ...], masks: SharedMasks) -> FactsBook:
    owner = Entity("loire-essais", "FR", frozenset(), ())
    home = ControlPlaneFacts(territory="FR", operator="loire-essais", entities={"loire-essais": owner})
    return FactsBook(epoch, ATLAS, facts, home, {}, {}, "cp", masks=masks)


def _moved(facts: tuple[PoolFacts, ...]) -> tuple[PoolFacts, ...]:
    return (replace(facts[0], evidence=Evidence.E0, facts_version=2), *facts[1:])


def _facts(count: int) -> Iterator[PoolFacts]:
    """Pools of regions and providers that differ in all that policies ask about."""
    draw = random.Random(7)
    firms = {name: Entity(name, draw.choice((*TERRITORIES, "US")), frozenset(draw.sample(TERRITORIES, 2)), ())
             for name in (f"firm-{number}" for number in range(PROVIDERS))}  # fmt: skip
    for number in range(count):
        region = number % REGIONS
        place, firm = TERRITORIES[region % len(TERRITORIES)], f"firm-{region * 7 % PROVIDERS}"
        papers = [("c5", "type2"), ("secnumcloud", "3.2"), ("iso27001", "certified")][: 1 + region % 3]
        yield facts_of(
            pool=f"p{number:04}",
            region=f"r{region:02}",
            territory=place,
            access_territories=frozenset([place, TERRITORIES[(region + 3) % len(TERRITORIES)]]),
            provider=firm,
            operator=firm,
            endpoints=tuple(Endpoint(kind, place, firm) for kind in EndpointKind),
            certifications=tuple(Certification(name, level, frozenset(Service), None, FAR) for name, level in papers),
            seal=tuple(2 + (region + place) % 3 for place in range(8)),
            encryption=list(Encryption)[1 + region % 3],
            evidence=list(Evidence)[1 + region % 4],
            entities=firms,
        )


def _policies(count: int) -> Iterator[Effective]:
    """Policies of ten facets and more, each value out of some dozens."""
    draw = random.Random(11)
    sets = [draw.sample((*TERRITORIES, *GROUPS), draw.randint(4, 12)) for _ in range(60)]
    shields = [draw.sample(("US", "CN", "GB", "CH", "IN"), draw.randint(1, 3)) for _ in range(12)]
    seals = [[draw.randint(0, 3) for _ in range(8)] for _ in range(40)]
    seen: set[str] = set()
    while len(seen) < count:
        facets: dict[str, Any] = {
            facet: draw.choice(sets) for facet in ("process", "store", "describe", "access", "key")
        }
        facets |= {"forbid_exposure": draw.choice(shields), "seal_min": draw.choice(seals)}
        facets |= {"encryption": draw.choice(("none", "rest", "byok")), "evidence": draw.choice(("E0", "E1", "E2"))}
        facets["tenancy"] = draw.choice(("shared", "dedicated", "single"))
        of = as_owner(**facets)
        if of.digest not in seen:
            seen.add(of.digest)
            yield of


if __name__ == "__main__":
    main()
