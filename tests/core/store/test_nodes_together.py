"""Reports, operators, placements and ends at the same time: nobody waits for another in a ring, and all adds up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from nordan_core.domain.ids import JobId, NodeName, PoolName
from nordan_core.domain.places import Amounts, Hold, NodeReport, NodeState
from support.cell import Cell, lead
from support.scheduling import a_cycle

CLUSTER, POOL = "fr-k8s-1", PoolName("k8s-h100")
NODES = 12
FOR_S = 4.0
#: A busy machine takes longer for the same rounds.
AT_MOST_S = 60.0
ROUNDS = 4


class Life:
    """Four kinds of steps, each on a thread of its own until the time is over or one of them fails."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._cycle, self._epoch = a_cycle(cell), lead(cell.store)
        self.rounds: Counter[str] = Counter()
        self.faults: list[BaseException] = []

    def run(self) -> None:
        steps = (self.report, self.place, self.end, self.hold)
        threads = [threading.Thread(target=self._again, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def report(self, number: int) -> None:
        _report(self._cell, number)

    def place(self, number: int) -> None:
        self._cell.submit(3, gpus=1 + number % 4, nodes=1 + number % 2)
        self._cell.run("update leader set until = clock_timestamp() + interval '1 minute'")
        self._cycle.run(self._epoch)

    def end(self, _number: int) -> None:
        live = "select job_id from attempt where state <> 'ended' order by random() limit 3"
        for (job,) in self._cell.rows(live):
            self._cell.end(JobId(job))

    def hold(self, number: int) -> None:
        with self._cell.store.begin() as work:
            node = None if number % 5 == 0 else NodeName(f"n{number % NODES}")
            work.nodes.hold(POOL, node, (Hold.NONE, Hold.CORDONED)[number % 2], "")
        time.sleep(0.01)

    def _again(self, step: Callable[[int], None]) -> None:
        began = time.monotonic()
        try:
            while not (self._has_enough(time.monotonic() - began) or self.faults):
                step(self.rounds[step.__name__])
                self.rounds[step.__name__] += 1
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            self.faults.append(error)

    def _has_enough(self, elapsed_s: float) -> bool:
        has_rounds = len(self.rounds) == 4 and min(self.rounds.values()) >= ROUNDS
        return elapsed_s > (FOR_S if has_rounds else AT_MOST_S)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_at_once_ends_in_what_live_attempts_leave(cell: Cell) -> None:
    cell.run("delete from node")
    cell.run("delete from pool")
    cell.add_cluster(CLUSTER, POOL)
    _report(cell, 0)
    life = Life(cell)
    life.run()
    assert life.faults == []
    assert len(life.rounds) == 4
    assert min(life.rounds.values()) >= ROUNDS, life.rounds
    masks: dict[str, int] = {}
    for (placement,) in cell.rows("select placement from attempt where state <> 'ended'"):
        for rank in placement:
            assert masks.get(rank["node"], 0) & rank["gpu_mask"] == 0
            masks[rank["node"]] = masks.get(rank["node"], 0) | rank["gpu_mask"]
    taken = {name: 255 - mask for name, mask in cell.rows("select name, free_mask from node where free_mask <> 255")}
    assert taken == masks


def _report(cell: Cell, number: int) -> None:
    """Report most of the nodes, in an order of its own, some of them otherwise than before."""
    found = [
        NodeReport(
            POOL,
            NodeName(f"n{one}"),
            NodeState.CORDONED if (one + number) % 7 == 0 else NodeState.READY,
            Amounts(8, 96_000, 1 << 20),
            Amounts((one * number) % 4, 0, 0),
        )
        for one in range(NODES)
        if (one + number) % 11
    ]
    cell.report(CLUSTER, *reversed(found))
