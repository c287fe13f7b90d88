"""A long run of random faults against one stack, by a seed: what no test has the time for.

    python tests/chaos/soak.py [--minutes 10] [--seed 1]

Jobs are submitted without a pause; every few seconds something is killed or stopped for a while, sometimes two things
at once. Every minute or two it rests until all jobs have ended, and everything is audited. Prints counts; the exit
code is 1 when an audit found a fault.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.chaos_audit import Books
from support.chaos_jobs import Jobs, Kind, Submitting, a_mix
from support.chaos_stack import ChaosStack, chaos_stack

ROUND_S = 75.0
#: Seconds between two jobs, and between two faults.
SUBMIT_EVERY_S = 0.12
FAULT_EVERY_S = (0.5, 5.0)
#: Longer than the lead's lease and a broker's time-out, shorter than a grant's life.
STOP_S = (0.2, 12.0)
#: PostgreSQL takes all others with it, so it is killed less often.
SHARES = {"postgres": 1, "api": 3, "leader": 3, "standby": 1, "supervisor": 4, "worker": 2, "gateway": 1, "valkey": 3}


def main() -> int:
    """Run rounds until the time is over and print what was done, and what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    until = time.monotonic() + 60.0 * arguments.minutes
    with chaos_stack() as stack:
        jobs = Jobs(stack)
        soak = Soak(stack, jobs, random.Random(arguments.seed))
        rounds = 0
        while time.monotonic() < until and not soak.faults:
            rounds += 1
            soak.run_round(min(ROUND_S, until - time.monotonic()))
            print(f"round {rounds}: {soak.line()}", flush=True)
        soak.report()
        jobs.close()
        if soak.faults:
            print(stack.trouble())
    return 1 if soak.faults else 0


class Soak:
    """One stack under random faults."""

    def __init__(self, stack: ChaosStack, jobs: Jobs, chance: random.Random) -> None:
        self.faults: list[str] = []
        self._stack = stack
        self._jobs = jobs
        self._chance = chance
        self._done: Counter[str] = Counter()

    def run_round(self, seconds: float) -> None:
        """Do harm for so long, then let everything end and audit it."""
        deadline = time.monotonic() + seconds
        with Submitting(self._jobs, self._kinds(), SUBMIT_EVERY_S) as submitting, ExitStack() as stopped:
            while time.monotonic() < deadline:
                self._harm(stopped)
                time.sleep(self._chance.uniform(*FAULT_EVERY_S))
                if self._chance.random() < 0.5:
                    stopped.close()
            submitting.enough()
        try:
            self._jobs.wait_ends()
        except AssertionError as error:
            self.faults.append(str(error))
        books = Books(self._stack, self._jobs)
        books.settle()
        self.faults += books.faults()

    def line(self) -> str:
        """Return where it stands, in a line."""
        harm = sum(self._done.values())
        return f"{len(self._jobs.submitted)} jobs, {harm} times harm, {len(self.faults)} faults"

    def report(self) -> None:
        """Print what was done and how it went."""
        print(f"harm: {', '.join(f'{what} {count}' for what, count in sorted(self._done.items()))}")
        kinds = Counter(kind.name for kind in self._jobs.submitted.values())
        print(f"jobs: {', '.join(f'{name} {count}' for name, count in sorted(kinds.items()))}")
        print(f"requests that were sent again: {self._jobs.repeated}")
        for what, query in _COUNTS.items():
            print(f"{what}: {', '.join(map(str, self._stack.rows(query)[0]))}")
        print("\n".join(self.faults) or "no fault")

    def _kinds(self) -> Iterator[Kind]:
        return itertools.chain.from_iterable(a_mix(50, self._chance.randrange(1 << 30)) for _ in itertools.count())

    def _harm(self, stopped: ExitStack) -> None:
        [part] = self._chance.choices(list(SHARES), list(SHARES.values()))
        if part in {"leader", "standby"}:
            # With both stopped nobody leads, and nobody could be told from the other.
            stopped.close()
        name = self._chance.choice(self._names(part))
        process = self._stack.process(name)
        if part != "postgres" and self._chance.random() < 0.4:
            self._done[f"stop {part}"] += 1
            stopped.enter_context(self._stack.stopped(process))
            time.sleep(self._chance.uniform(*STOP_S) * self._chance.random())
        else:
            self._done[f"kill {part}"] += 1
            self._stack.kill(name)

    def _names(self, part: str) -> list[str]:
        if part in {"leader", "standby"}:
            leader, _ = self._stack.leader()
            return [one for one in ("scheduler-1", "scheduler-2") if (one == leader) == (part == "leader")]
        return [one for one in self._stack.names() if one.startswith(part)]


_COUNTS = {
    "attempts, lost ones": "select count(*), count(*) filter (where result = 'lost') from attempt",
    "seconds from submission to end, median and longest": """
        select percentile_cont(0.5) within group (order by took), max(took)
        from (select extract(epoch from finished_at - created_at)::float as took from job) j
    """,
    "leaders, entries, checkpoints": """
        select (select epoch from leader), (select count(*) from audit_entry), (select count(*) from audit_checkpoint)
    """,
}

if __name__ == "__main__":
    sys.exit(main())
