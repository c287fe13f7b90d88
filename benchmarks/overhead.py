"""What residency costs the engine: decisions per second of processor with and without it.

    python benchmarks/overhead.py [--pools 1000] [--policies 10000]

Target: 0.95 of what it decides without. A plan looks at 2,000 jobs; each has a policy of its own, so five plans see ten
thousand. The word on each policy is there already, as it is in the running cycle; what a first word costs is measured
apart. Seconds are of the processor, since other work on the machine moves the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import UTC, datetime
from itertools import islice

import paths  # noqa: F401  makes `support` importable

from nordan_core.domain.queueing import QueuedJob, Residency
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.masks import compile_mask
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.engine.snapshot import Snapshot
from support.queueing import a_job, a_node, a_pool, allowing
from support.residency import ATLAS, as_owner
from support.residency import a_pool as facts_of

NOW = datetime(2026, 11, 29, tzinfo=UTC)
JOBS = 2_000
SAMPLE = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=int, default=1_000)
    parser.add_argument("--policies", type=int, default=10_000)
    arguments = parser.parse_args()
    pools = tuple(a_pool(f"p{number}", price=700 + number % 50) for number in range(arguments.pools))
    nodes = tuple(a_node(f"{pool.name}-0", pool=pool.name) for pool in pools)
    names = [str(pool.name) for pool in pools]
    # All pools for each: a policy that rules pools out spares the engine the trying of them, and would flatter the law.
    words: dict[str, Residency] = dict.fromkeys(map(str, range(arguments.policies)), allowing(*names))
    ratios = []
    rest = iter(words)
    while keys := tuple(islice(rest, JOBS)):
        on, off = (_rate(Snapshot(jobs, pools, nodes, said, NOW)) for jobs, said in _both(keys, words, names))
        ratios.append(on / off)
        print(
            f"{len(keys)} policies: {on:.0f} decisions/s with residency, {off:.0f} without; {on / off:.3f}", flush=True
        )
    first_s = _first_word_s(arguments.pools)
    print(f"{arguments.pools} pools, {arguments.policies} policies: ratio {statistics.mean(ratios):.3f}, target 0.95")
    print(f"first word on a policy over all pools: {first_s * 1000:.0f} ms")


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


def _first_word_s(pools: int) -> float:
    facts: list[PoolFacts] = [facts_of(pool=f"p{number}") for number in range(pools)]
    began = time.process_time()
    for number in range(SAMPLE):
        compile_mask(as_owner(process=["FR", "SE"], seal_min=[1] * 7 + [number % 5]), facts, ATLAS, NOW)
    return (time.process_time() - began) / SAMPLE


if __name__ == "__main__":
    main()
