"""Whatever clusters report, whatever is placed and however it ends: nothing is negative and no GPU counts twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nordan_core.domain.errors import Conflict
from nordan_core.domain.ids import JobId, NodeName, PoolName
from nordan_core.domain.places import Amounts, Hold, NodeReport, NodeState
from nordan_core.domain.states import AttemptResult
from support.cell import Cell, lead
from support.scheduling import a_cycle

CLUSTER, POOL = "fr-k8s-1", PoolName("k8s-h100")
NAMES = ("n1", "n2", "n3")
_AMOUNTS = st.builds(Amounts, st.integers(0, 10), st.integers(0, 110_000), st.integers(0, 1 << 21))
_NODE = st.builds(
    NodeReport,
    pool=st.just(POOL),
    name=st.sampled_from(NAMES),
    state=st.sampled_from([NodeState.READY, NodeState.READY, NodeState.READY, *NodeState]),
    offered=st.one_of(st.just(Amounts(8, 96_000, 1 << 20)), _AMOUNTS),
    foreign=st.one_of(st.just(Amounts()), st.just(Amounts(2, 1_500, 4_000)), _AMOUNTS),
    is_unverified=st.sampled_from([False, False, False, True]),
)
_STEP = st.one_of(
    st.tuples(st.just("report"), st.lists(_NODE, max_size=4, unique_by=lambda one: one.name)),
    st.tuples(st.just("place"), st.lists(st.tuples(st.integers(1, 8), st.integers(1, 30)), min_size=1, max_size=5)),
    st.tuples(st.just("end"), st.integers(0, 20)),
    st.tuples(st.just("hold"), st.tuples(st.sampled_from([None, *NAMES]), st.sampled_from(list(Hold)))),
    st.tuples(st.just("shape"), st.tuples(st.integers(20, 100), st.sampled_from([None, 1, 2]))),
)


@dataclass
class Story:
    """A cluster's life, step by step."""

    cell: Cell

    def report(self, nodes: list[NodeReport]) -> None:
        self.cell.report(CLUSTER, *nodes)

    def place(self, wants: list[tuple[int, int]]) -> None:
        before = set(self.cell.rows("select id from attempt"))
        for gpus, cpus in wants:
            self.cell.submit(gpus=gpus, cpus=cpus)
        self.cell.run("update leader set until = clock_timestamp() - interval '1 day'")
        self.cell.run("update job set not_before = null")
        a_cycle(self.cell).run(lead(self.cell.store))
        self._fits(set(self.cell.rows("select id from attempt")) - before)

    def end(self, number: int) -> None:
        live = [row[0] for row in self.cell.rows("select job_id from attempt where state <> 'ended' order by id")]
        if live:
            self.cell.end(JobId(live[number % len(live)]), AttemptResult.SUCCEEDED)

    def hold(self, what: tuple[str | None, Hold]) -> None:
        with self.cell.store.begin() as work:
            work.nodes.hold(POOL, None if what[0] is None else NodeName(what[0]), what[1], "")

    def shape(self, what: tuple[int, int | None]) -> None:
        with suppress(Conflict):
            self.cell.add_pool(POOL, CLUSTER, cpus=what[0], nodes=what[1])

    def _fits(self, placed: set[tuple[Any, ...]]) -> None:
        """Nodes that just got work offered room for all that is held on them now."""
        held = self._held()
        touched = {rank["node"] for one, ranks in self._placements() if (one,) in placed for rank in ranks}
        with self.cell.store.begin() as work:
            nodes = {node.name: node for node in work.nodes.all()}
        for name in touched:
            node = nodes[NodeName(name)]
            assert node.state is NodeState.READY
            assert node.report is not None
            left, foreign = node.report.offered, node.report.foreign
            gpus, cpus, memory_mib = (sum(one) for one in zip(*held[name], strict=True))
            assert gpus + foreign.gpus <= left.gpus
            assert cpus * 1000 + foreign.cpu_milli <= left.cpu_milli
            assert memory_mib + foreign.memory_mib <= left.memory_mib

    def is_sound(self) -> None:
        """Rows say exactly what live attempts leave, and what a job could get is never more than that."""
        masks: dict[str, int] = defaultdict(int)
        for _, ranks in self._placements():
            for rank in ranks:
                assert masks[rank["node"]] & rank["gpu_mask"] == 0, "a GPU is held twice"
                masks[rank["node"]] |= rank["gpu_mask"]
        held = self._held()
        with self.cell.store.begin() as work:
            nodes = work.nodes.all()
        for node in nodes:
            cpus, memory_mib = (sum(one[part] for one in held[node.name]) for part in (1, 2))
            assert node.free_mask == 255 & ~masks[node.name]
            assert (node.free_cpus, node.free_memory_mib) == (node.cpus - cpus, node.memory_mib - memory_mib)
            assert 0 <= node.free_gpus <= node.free_mask.bit_count()
            assert 0 <= node.placeable_cpus <= node.free_cpus <= node.cpus
            assert 0 <= node.placeable_memory_mib <= node.free_memory_mib <= node.memory_mib

    def _placements(self) -> list[tuple[Any, ...]]:
        return self.cell.rows("select id, placement from attempt where state <> 'ended'")

    def _held(self) -> dict[str, list[tuple[int, int, int]]]:
        held: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        rows = self.cell.rows(
            "select placement, cpus_per_rank, memory_mib_per_rank from attempt where state <> 'ended'"
        )
        for ranks, cpus, memory_mib in rows:
            for rank in ranks:
                held[rank["node"]].append((rank["gpus"], cpus, memory_mib))
        return held


@pytest.fixture
def story(cell: Cell) -> Story:
    """Return a cluster without a node, in a cell that has no other pool."""
    cell.run("delete from node")
    cell.run("delete from pool")
    cell.add_cluster(CLUSTER, POOL)
    return Story(cell)


@pytest.mark.slow
@pytest.mark.timeout(300)
# A story has few steps, and shrinking one takes minutes: it is told as it was found.
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(steps=st.lists(_STEP, min_size=3, max_size=12))
def test_no_sequence_of_reports_placements_and_ends_makes_capacity_wrong(
    story: Story, steps: Iterable[tuple[str, Any]]
) -> None:
    """Reports that shrink, grow, lose and move nodes; operators and documents in between."""
    _clear(story.cell)
    for name, argument in steps:
        getattr(story, name)(argument)
        story.is_sound()


def _clear(cell: Cell) -> None:
    """Begin anew: no jobs, no nodes, nothing held back, the first shape."""
    for table in ("outbox", "attempt_grant", "lease", "certificate", "attempt", "job", "node"):
        cell.run(f"delete from {table}")
    cell.run("update pool set hold = '', single_tenant = null")
    cell.add_pool(POOL, CLUSTER, nodes=None, cpus=96)
