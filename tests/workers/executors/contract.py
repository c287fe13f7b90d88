"""What every executor must do, whatever it runs on: the words of `nordan_workers.executors.base.Executor` as tests.

A test module subclasses `ExecutorContract` and gives the fixture `executor`. Only `true`, `false` and `sleep SECONDS`
are run here, so a fake can take part.
"""

from __future__ import annotations

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import JobKind
from nordan_core.identifiers import new_id
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import AttemptStatus, Executor, RankState
from support.attempts import launch_order, until

FAR_S = 600.0
LIMIT_S = 15.0


def started(executor: Executor, order: LaunchOrder, life_s: float = FAR_S) -> AttemptId:
    """Take an attempt through prepare, seal and launch."""
    folders = executor.prepare(order)
    executor.seal(folders)
    executor.launch(order, folders, SystemClock().monotonic() + life_s)
    return AttemptId(order.attempt_id)


def ended(executor: Executor, attempt_id: AttemptId, limit_s: float = LIMIT_S) -> AttemptStatus:
    """Wait for the attempt's end and return its last status."""
    until(lambda: executor.poll(attempt_id).is_over, "the attempt's end", limit_s)
    return executor.poll(attempt_id)


def running(executor: Executor, attempt_id: AttemptId, limit_s: float = LIMIT_S) -> AttemptStatus:
    """Wait until every rank runs."""
    until(lambda: executor.poll(attempt_id).is_started, "the attempt's start", limit_s)
    return executor.poll(attempt_id)


def identities(status: AttemptStatus) -> list[tuple[int | None, str | None]]:
    """Return what tells each rank's start from any other."""
    return [(rank.pid, rank.pod) for rank in status.ranks]


class ExecutorContract:
    """Subclass it under a name that starts with Test."""

    limit_s = LIMIT_S
    """A start or an end takes no longer."""
    life_s = 2.5
    """A deadline within which an attempt can start."""
    late_s = 1.0
    """The end by a deadline is seen so long after it, at the latest."""

    def test_a_program_that_succeeds_exits_with_0(self, executor: Executor) -> None:
        status = ended(executor, started(executor, launch_order(["true"])), self.limit_s)
        (rank,) = status.ranks
        assert rank.state is RankState.EXITED
        assert rank.exit is not None
        assert (rank.exit.exit_code, rank.exit.signal, rank.exit.at_deadline) == (0, None, False)
        assert not status.has_failed

    def test_a_program_that_fails_tells_its_exit_code(self, executor: Executor) -> None:
        status = ended(executor, started(executor, launch_order(["false"])), self.limit_s)
        assert status.ranks[0].exit is not None
        assert status.ranks[0].exit.exit_code == 1
        assert status.has_failed

    def test_a_prepared_attempt_waits_until_it_is_launched(self, executor: Executor) -> None:
        order = launch_order()
        executor.prepare(order)
        status = executor.poll(AttemptId(order.attempt_id))
        assert [rank.state for rank in status.ranks] == [RankState.WAITING]
        assert not status.is_started
        assert status.running_s == 0.0

    def test_preparing_twice_keeps_what_was_laid(self, executor: Executor) -> None:
        order = launch_order()
        folders = executor.prepare(order)
        folders.ranks[0].cwd.mkdir(parents=True, exist_ok=True)
        (folders.ranks[0].cwd / "train.py").write_text("pass")
        again = executor.prepare(order)
        assert again == folders
        assert (again.ranks[0].cwd / "train.py").exists()

    def test_every_rank_has_folders_of_its_own(self, executor: Executor) -> None:
        folders = executor.prepare(launch_order(ranks=3))
        assert [rank.rank for rank in folders.ranks] == [0, 1, 2]
        own = [path for rank in folders.ranks for path in (rank.cwd, rank.checkpoints, rank.outputs)]
        assert len({folders.inputs, *own}) == 10
        assert all(path.parent == folders.root for path in (folders.inputs, *own))

    def test_launching_twice_starts_once(self, executor: Executor) -> None:
        order = launch_order(["sleep", "60"])
        attempt_id = started(executor, order)
        first = running(executor, attempt_id, self.limit_s)
        started(executor, order)
        assert identities(executor.poll(attempt_id)) == identities(first)

    def test_each_rank_of_a_gang_runs(self, executor: Executor) -> None:
        status = running(executor, started(executor, launch_order(["sleep", "60"], ranks=3)), self.limit_s)
        assert [rank.state for rank in status.ranks] == [RankState.RUNNING] * 3
        assert len(set(identities(status))) == 3
        assert not status.is_over

    def test_running_time_counts_from_start_to_end(self, executor: Executor) -> None:
        status = ended(executor, started(executor, launch_order(["sleep", "0.3"])), self.limit_s)
        assert 0.25 < status.running_s < self.limit_s

    def test_a_stopped_attempt_gets_sigterm(self, executor: Executor) -> None:
        attempt_id = started(executor, launch_order(["sleep", "60"], ranks=2))
        running(executor, attempt_id, self.limit_s)
        executor.stop(attempt_id, grace_s=30.0)
        executor.stop(attempt_id, grace_s=30.0)
        status = ended(executor, attempt_id, self.limit_s)
        assert [rank.exit.signal for rank in status.ranks if rank.exit is not None] == [15, 15]
        assert not any(rank.exit.at_deadline for rank in status.ranks if rank.exit is not None)

    def test_an_attempt_stopped_before_its_launch_never_runs(self, executor: Executor) -> None:
        order = launch_order(["sleep", "60"])
        executor.prepare(order)
        executor.stop(AttemptId(order.attempt_id), grace_s=0.0)
        assert executor.poll(AttemptId(order.attempt_id)).is_over
        status = ended(executor, started(executor, order), self.limit_s)
        assert status.ranks[0].started_at_s is None
        assert status.has_failed

    def test_an_attempt_whose_deadline_passes_stops_by_itself(self, executor: Executor) -> None:
        before_s = SystemClock().monotonic()
        attempt_id = started(executor, launch_order(["sleep", "60"]), life_s=self.life_s)
        running(executor, attempt_id, self.limit_s)
        status = ended(executor, attempt_id, self.limit_s)
        assert status.ranks[0].exit is not None
        assert status.ranks[0].exit.at_deadline
        assert status.ranks[0].ended_at_s is not None
        assert status.ranks[0].ended_at_s < before_s + self.life_s + self.late_s

    def test_an_extended_attempt_runs_on(self, executor: Executor) -> None:
        attempt_id = started(executor, launch_order(["sleep", str(self.life_s + 0.5)]), life_s=self.life_s)
        executor.extend({attempt_id: SystemClock().monotonic() + FAR_S})
        status = ended(executor, attempt_id, self.limit_s)
        assert status.ranks[0].exit is not None
        assert status.ranks[0].exit.exit_code == 0

    def test_a_deadline_that_comes_nearer_counts(self, executor: Executor) -> None:
        attempt_id = started(executor, launch_order(["sleep", "60"]))
        running(executor, attempt_id, self.limit_s)
        executor.extend({attempt_id: SystemClock().monotonic() + 0.5})
        status = ended(executor, attempt_id, self.limit_s)
        assert status.ranks[0].exit is not None
        assert status.ranks[0].exit.at_deadline

    def test_an_attempt_launched_after_its_deadline_never_runs(self, executor: Executor) -> None:
        status = ended(executor, started(executor, launch_order(["sleep", "60"]), life_s=-1.0), self.limit_s)
        assert status.ranks[0].started_at_s is None
        assert status.ranks[0].exit is not None
        assert status.ranks[0].exit.at_deadline

    def test_only_an_inference_replica_has_an_address(self, executor: Executor) -> None:
        batch = started(executor, launch_order(["sleep", "60"]))
        replica = started(executor, launch_order(["sleep", "60"], kind=JobKind.INFERENCE))
        assert running(executor, batch, self.limit_s).address is None
        assert running(executor, replica, self.limit_s).address is not None

    def test_every_attempt_that_is_not_forgotten_can_be_adopted(self, executor: Executor) -> None:
        kept = [started(executor, launch_order(["sleep", "60"])) for _ in range(2)]
        gone = started(executor, launch_order())
        ended(executor, gone, self.limit_s)
        executor.forget(gone)
        assert list(executor.adopt()) == kept

    def test_forgetting_deletes_folders_and_records(self, executor: Executor) -> None:
        order = launch_order()
        folders = executor.prepare(order)
        (folders.inputs / "patients").mkdir(parents=True)
        (folders.inputs / "patients" / "scans.csv").write_text("1,2,3")
        attempt_id = started(executor, order)
        ended(executor, attempt_id, self.limit_s)
        executor.forget(attempt_id)
        executor.forget(attempt_id)
        assert not folders.root.exists()
        with pytest.raises(NotFound):
            executor.poll(attempt_id)

    def test_forgetting_a_running_attempt_ends_it(self, executor: Executor) -> None:
        attempt_id = started(executor, launch_order(["sleep", "60"]))
        running(executor, attempt_id, self.limit_s)
        executor.forget(attempt_id)
        assert attempt_id not in executor.adopt()

    def test_unknown_attempts_are_not_found_and_may_be_stopped_extended_and_forgotten(self, executor: Executor) -> None:
        stranger = AttemptId(new_id("att"))
        with pytest.raises(NotFound):
            executor.poll(stranger)
        executor.stop(stranger, 0.0)
        executor.extend({stranger: 1.0})
        executor.forget(stranger)
        assert executor.adopt() == ()
