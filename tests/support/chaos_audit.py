"""The audit after chaos: what the database, the log, the regions' folders and the process table say must fit together.

Returns sentences, one per fault; none means that nothing was lost and nothing doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from support.chaos_jobs import Jobs
from support.chaos_log import log_faults
from support.chaos_rules import BEHIND, RULES
from support.chaos_stack import REGIONS, ChaosStack, until

#: Rows shown of a rule that is broken.
SHOWN = 5
BEHIND_S = 60.0
_ENDS = """
    select j.id, j.state, j.reason, count(a.id), (array_agg(a.exit_code order by a.number desc))[1],
           (select coalesce(array_agg(f.name order by f.name), '{}') from artifact f
            where f.job_id = j.id and f.kind = 'output'),
           (select count(*) from artifact f where f.job_id = j.id and f.kind = 'checkpoint')
    from job j left join attempt a on a.job_id = j.id group by j.id
"""


@dataclass(frozen=True, slots=True)
class Books:
    """What the audit compares."""

    stack: ChaosStack
    jobs: Jobs

    def check(self) -> None:
        """Wait for what comes behind the last end, then fail with every fault that is found."""
        self.settle()
        faults = self.faults()
        assert not faults, "\n".join([*faults, self.stack.trouble()])

    def settle(self) -> None:
        """Wait until nothing is under way any more; what never comes is told by `faults`."""
        try:
            until(self._is_settled, "nothing to be under way", BEHIND_S)
        except AssertionError:
            return

    def faults(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        checks: tuple[Callable[[], Iterator[str]], ...] = (
            self._broken_rules,
            self._wrong_ends,
            self._wrong_starts,
            lambda: log_faults(self.stack),
            self._left_overs,
        )
        return [fault for check in checks for fault in check()]

    def _is_settled(self) -> bool:
        return not any(self.stack.rows(RULES[name]) for name in BEHIND) and not any(self._left_overs())

    def _broken_rules(self) -> Iterator[str]:
        for rule, query in RULES.items():
            if rows := self.stack.rows(query):
                yield f"{rule}: {rows[:SHOWN]} ({len(rows)} in all)"

    def _wrong_ends(self) -> Iterator[str]:
        """Compare each job with the only end that is right for it."""
        found = {job: tuple(row) for job, *row in self.stack.rows(_ENDS)}
        for job, kind in self.jobs.submitted.items():
            right = (kind.state, kind.reason, kind.attempts, kind.exit_code, sorted(kind.outputs), kind.checkpoints)
            if kind.cancelled_after_s is not None and job in found:
                # Whether it had begun is left to chance.
                right = (*right[:2], *found[job][2:4], *right[4:])
            if found.get(job) != right:
                yield f"{kind.name} {job} ended as {found.get(job)}, not as {right}"
        if strangers := found.keys() - self.jobs.submitted.keys():
            yield f"{len(strangers)} jobs that nobody submitted: {sorted(strangers)[:SHOWN]}"

    def _wrong_starts(self) -> Iterator[str]:
        """Each rank of an attempt that ran was started once; one of an attempt that was lost at most once."""
        starts = Counter(
            {path.name: len(path.read_text().splitlines()) for path in self.stack.starts.iterdir() if path.is_file()}
        )
        rows = self.stack.rows("select id, fence, result, jsonb_array_length(placement) from attempt")
        for attempt, fence, result, ranks in rows:
            for rank in range(ranks):
                name = f"{attempt}.{rank}"
                count = starts.pop(name, 0)
                if count > 1 or (count == 0 and result in {"succeeded", "failed"}):
                    yield f"rank {rank} of {attempt} (fence {fence}, {result}) was started {count} times"
        if starts:
            yield f"starts of attempts that nobody knows: {sorted(starts)[:SHOWN]}"

    def _left_overs(self) -> Iterator[str]:
        """Find what a region keeps of attempts that are over: records, folders, processes."""
        for code in REGIONS:
            folder = self.stack.region(code)
            left = [
                str(path.relative_to(folder))
                for pattern in ("records/grt_*", "attempts/att_*", "work/att_*")
                for path in folder.glob(pattern)
            ]
            if left:
                yield f"{code} still keeps {sorted(left)[:SHOWN]}"
        if alive := self.stack.pids_marked(f"STARTS={self.stack.starts}"):
            yield f"processes of jobs are alive: {alive[:SHOWN]}"
