"""Real processes: start, hand over, be killed, be stopped in the middle of a transaction."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from support.cell import Cell
from support.scheduler_process import a_scheduler, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


_ALL_GRANTS = "select to_jsonb(one)::text from attempt_grant one order by id"


def _placed(cell: Cell) -> int:
    return int(cell.rows("select count(*) from attempt")[0][0])


def _grants_written(cell: Cell) -> int:
    """Return how often a row was ever written, in transactions that were rolled back too."""
    return int(cell.rows("select n_tup_ins from pg_stat_user_tables where relname = 'attempt_grant'")[0][0])


def _check_books(cell: Cell, jobs: int) -> None:
    """Each job has one attempt, each attempt one grant and lease, and no GPU is held twice or by nobody."""
    assert cell.rows("select count(*), count(distinct job_id) from attempt") == [(jobs, jobs)]
    assert cell.rows("select count(*) from attempt_grant") == [(jobs,)]
    assert cell.rows("select count(*) from audit_entry where act = 'grant_issued'") == [(jobs,)]
    held: dict[str, int] = {}
    for (placement,) in cell.rows("select placement from attempt"):
        for rank in placement:
            assert held.get(rank["node"], 0) & rank["gpu_mask"] == 0, "a GPU was given twice"
            held[rank["node"]] = held.get(rank["node"], 0) | rank["gpu_mask"]
    for name, mask in cell.rows("select name, free_mask from node"):
        assert mask == 255 & ~held.get(name, 0)


def test_it_places_what_is_submitted_and_hands_over_on_sigterm(cell: Cell, server: str, tmp_path: Path) -> None:
    with a_scheduler(server, tmp_path) as scheduler:
        wait_until(scheduler.leads)
        cell.submit(3)
        wait_until(lambda: _placed(cell) == 3)
        wait_until(lambda: cell.rows("select count(*) from audit_entry where leaf_index is null") == [(0,)])
        scheduler.send(signal.SIGTERM)
        assert scheduler.process.wait(60) == 0
    assert cell.rows("select until <= clock_timestamp() from leader") == [(True,)]


def test_a_standby_takes_over_when_the_leader_is_killed(cell: Cell, server: str, tmp_path: Path) -> None:
    with a_scheduler(server, tmp_path, "one") as one:
        wait_until(one.leads)
        with a_scheduler(server, tmp_path, "two") as two:
            wait_until(lambda: two.log.stat().st_size > 0)
            assert not two.leads()
            cell.submit(5)
            one.process.kill()
            cell.submit(5)
            wait_until(two.leads)
            wait_until(lambda: _placed(cell) == 10)
    _check_books(cell, 10)


def test_a_leader_stopped_in_mid_apply_changes_nothing_when_it_wakes(cell: Cell, server: str, tmp_path: Path) -> None:
    with a_scheduler(server, tmp_path, "one") as one, a_scheduler(server, tmp_path, "two") as two:
        wait_until(lambda: one.leads() or two.leads())
        leader, standby = (one, two) if one.leads() else (two, one)
        with cell.engine.connect() as holder, holder.begin():
            # 1. Hold the nodes, so that apply waits in the middle of its transaction.
            holder.execute(text("select name from node for update"))
            cell.submit(20)
            wait_until(lambda: _waiting_for_nodes(cell))
            # 2. Stop the leader there, then let its statement through.
            leader.send(signal.SIGSTOP)
        # 3. PostgreSQL ends the stopped session; the standby takes over and does the work.
        wait_until(standby.leads)
        wait_until(lambda: _placed(cell) == 20)
        # 4. The old leader wakes in a transaction that is gone.
        leader.send(signal.SIGCONT)
        cell.submit(5)
        wait_until(lambda: _placed(cell) == 25)
        wait_until(lambda: not leader.leads())
        assert leader.process.poll() is None
    _check_books(cell, 25)


def test_a_leader_stopped_between_its_writes_and_its_commit_changes_nothing_when_it_wakes(
    cell: Cell, server: str, tmp_path: Path
) -> None:
    with a_scheduler(server, tmp_path, "one", stop_at="before_commit") as leader:
        wait_until(leader.leads)
        written = _grants_written(cell)
        # 1. The leader writes everything and stops by itself. Nobody else could have done it.
        cell.submit(20)
        wait_until(leader.is_stopped)
        assert _placed(cell) == 0
        with a_scheduler(server, tmp_path, "two") as standby:
            # 2. PostgreSQL ends its session; the standby takes over and does the work.
            wait_until(standby.leads)
            wait_until(lambda: _placed(cell) == 20)
            wait_until(lambda: _grants_written(cell) - written == 40)
            before = cell.rows(_ALL_GRANTS)
            # 3. It wakes, tries to commit, and learns that it lost the lead.
            leader.send(signal.SIGCONT)
            wait_until(lambda: not leader.leads())
            wait_until(lambda: _cycle_was_cut_off(leader.log))
            assert cell.rows(_ALL_GRANTS) == before
            cell.submit(5)
            wait_until(lambda: _placed(cell) == 25)
            assert leader.process.poll() is None
    _check_books(cell, 25)


def test_a_port_that_is_taken_ends_the_process_with_a_sentence(cell: Cell, server: str, tmp_path: Path) -> None:
    with a_scheduler(server, tmp_path) as first:
        wait_until(first.leads)
        port = first.url.rpartition(":")[2]
        with a_scheduler(server, tmp_path, "twin", port=int(port)) as twin:
            assert twin.process.wait(60) == 1
            assert "cannot listen on" in twin.log.read_text()


def _cycle_was_cut_off(log: Path) -> bool:
    return any("database_away" in line and "cycle" in line for line in log.read_text().splitlines())


def _waiting_for_nodes(cell: Cell) -> bool:
    return bool(cell.rows("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%FROM node%'"))
