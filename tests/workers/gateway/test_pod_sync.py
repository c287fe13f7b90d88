"""How often agents ask: each second while they are few, less often when they are many."""

from __future__ import annotations

from pathlib import Path

from nordan_core.clock import ManualClock
from nordan_workers.executors.kubernetes.records import AgentState, PodRecord
from nordan_workers.gateway.pod_sync import SILENT_S, Ask, PodSync
from nordan_workers.shim.records import DEADLINE, Deadline, write

RECORD = PodRecord("t", (0,), {}, 1000)


def test_many_agents_ask_less_often_until_they_are_few_again(tmp_path: Path) -> None:
    clock = ManualClock()
    write(tmp_path / DEADLINE, Deadline("boot", clock.monotonic() + 100))
    syncs = PodSync(clock, "boot")

    def pause_s(rank: int) -> float:
        answer = syncs.answer(RECORD, tmp_path, rank, Ask(AgentState.RUNNING))
        return float(answer["next_s"])

    assert [pause_s(rank) for rank in range(600)][-1] == 3.0
    clock.advance(SILENT_S + 1)
    assert pause_s(0) == 1.0


def test_the_same_word_is_not_written_down_each_time(tmp_path: Path) -> None:
    clock = ManualClock()
    write(tmp_path / DEADLINE, Deadline("boot", clock.monotonic() + 100))
    syncs = PodSync(clock, "boot")
    note = tmp_path / "rank-0" / "agent.json"

    def written(state: AgentState) -> int:
        syncs.answer(RECORD, tmp_path, 0, Ask(state))
        return note.stat().st_ino

    first = written(AgentState.RUNNING)
    keep = note.with_name("keep")
    keep.hardlink_to(note)
    assert written(AgentState.RUNNING) == first
    assert written(AgentState.ENDED) != first
