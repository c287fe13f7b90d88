"""What clusters and operators say about nodes, and what a job can get of them then."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.domain.ids import NodeName, PoolName, RegionCode
from nordan_core.domain.places import Amounts, Hold, Node, NodeReport, NodeState
from nordan_core.domain.reasons import Reason
from nordan_core.store.nodes import Reported, admit
from nordan_core.store.scheduling import UNSEEN_AFTER_S
from nordan_scheduler import cycle as cycle_module
from nordan_scheduler.engine.plan import plan
from support.cell import FR, Cell, lead, state_of
from support.scheduling import a_cycle

CLUSTER, POOL = "fr-k8s-1", PoolName("k8s-h100")
WHOLE = Amounts(8, 96_000, 1 << 20)


@pytest.fixture
def cluster(cell: Cell) -> Cell:
    """Return a cell whose only pool is a cluster's, which has reported no node yet."""
    cell.run("delete from node")
    cell.run("delete from pool")
    cell.add_cluster(CLUSTER, POOL)
    return cell


def a_report(name: str = "n1", pool: str = POOL, **more: Any) -> NodeReport:
    """Return what a cluster says of an empty 8-GPU node."""
    return NodeReport(PoolName(pool), NodeName(name), **{"state": NodeState.READY, "offered": WHOLE, **more})


def _nodes(cell: Cell) -> dict[str, Node]:
    with cell.store.begin() as work:
        return {node.name: node for node in work.nodes.all()}


def _hold(cell: Cell, node: str | None, hold: Hold, reason: str = "") -> bool:
    with cell.store.begin() as work:
        return work.nodes.hold(POOL, None if node is None else NodeName(node), hold, reason)


def _places(cell: Cell) -> int:
    cell.run("update leader set until = clock_timestamp() - interval '1 day'")
    return a_cycle(cell).run(lead(cell.store)).placed


def test_a_cluster_names_its_nodes_and_they_get_the_shape_of_the_pools_document(cluster: Cell) -> None:
    """The first report brings them; the same report again changes nothing."""
    assert cluster.report(CLUSTER, a_report("n1"), a_report("n2")) == Reported(changed=2)
    assert cluster.report(CLUSTER, a_report("n1"), a_report("n2")) == Reported()
    nodes = _nodes(cluster)
    assert [(one.gpus, one.cpus, one.memory_mib, one.state) for one in nodes.values()] == [
        (8, 96, 1 << 20, NodeState.READY)
    ] * 2
    cluster.submit(2, gpus=8)
    assert _places(cluster) == 2


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        ({}, NodeState.READY, ""),
        ({"state": NodeState.DOWN, "reason": "NotReady"}, NodeState.DOWN, "NotReady"),
        ({"state": NodeState.CORDONED, "reason": "unschedulable"}, NodeState.CORDONED, "unschedulable"),
        ({"state": NodeState.DRAINING, "reason": "taint x"}, NodeState.DRAINING, "taint x"),
        ({"is_unverified": True}, NodeState.CORDONED, "its facts are unverified"),
    ],
)
def test_only_a_node_that_its_cluster_calls_ready_and_verified_gets_work(
    cluster: Cell, said: dict[str, Any], state: NodeState, reason: str
) -> None:
    """And the node says why it gets none."""
    cluster.report(CLUSTER, a_report(**said))
    node = _nodes(cluster)["n1"]
    assert (node.state, node.reason()) == (state, reason)
    cluster.submit()
    assert _places(cluster) == (state is NodeState.READY)


def test_a_node_that_is_left_out_is_gone_and_comes_back_with_what_jobs_hold(cluster: Cell) -> None:
    """The attempts on it are not touched: their region ends them."""
    cluster.report(CLUSTER, a_report())
    [job] = cluster.submit(gpus=3)
    assert _places(cluster) == 1
    cluster.report(CLUSTER)
    gone = _nodes(cluster)["n1"]
    assert (gone.state, gone.free_mask.bit_count()) == (NodeState.DOWN, 5)
    assert gone.reason() == "not among its cluster's nodes of the pool"
    cluster.report(CLUSTER, a_report())
    assert (_nodes(cluster)["n1"].state, _nodes(cluster)["n1"].free_gpus) == (NodeState.READY, 5)
    cluster.end(job)
    assert _nodes(cluster)["n1"].free_gpus == 8


def test_what_foreign_pods_ask_for_is_subtracted(cluster: Cell) -> None:
    """GPUs are counted, CPUs rounded down, and what a job of ours holds is not counted twice."""
    cluster.report(CLUSTER, a_report(foreign=Amounts(3, 1_100, 1000)))
    node = _nodes(cluster)["n1"]
    assert (node.free_gpus, node.placeable_cpus, node.placeable_memory_mib) == (5, 94, (1 << 20) - 1000)
    small, large = cluster.submit(gpus=5)[0], cluster.submit(gpus=1)[0]
    assert _places(cluster) == 1
    assert cluster.job(large).reason is Reason.NO_CAPACITY
    cluster.report(CLUSTER, a_report())
    assert _nodes(cluster)["n1"].free_gpus == 3
    assert _places(cluster) == 1
    assert state_of(cluster, small) == state_of(cluster, large)


def test_a_plan_that_foreign_pods_overtook_is_dropped(cluster: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free is checked again under the rows' locks."""
    cluster.report(CLUSTER, a_report())
    cluster.submit(gpus=8)

    def overtaken(*arguments: Any, **more: Any) -> Any:
        cluster.report(CLUSTER, a_report(foreign=Amounts(1)))
        return plan(*arguments, **more)

    monkeypatch.setattr(cycle_module, "plan", overtaken)
    report = a_cycle(cluster).run(lead(cluster.store))
    assert (report.placed, report.dropped) == (0, 1)


@pytest.mark.parametrize(("has_made_up_gpus", "free"), [(True, 8), (False, 0)])
def test_a_node_that_does_not_know_the_gpu_resource_carries_made_up_gpus_only(
    cluster: Cell, has_made_up_gpus: bool, free: int
) -> None:
    """Real ones are there when the node says so."""
    cluster.add_pool(POOL, CLUSTER, nodes=None, has_made_up_gpus=has_made_up_gpus, price="2.00")
    cluster.report(CLUSTER, a_report(offered=Amounts(None, 96_000, 1 << 20)))
    assert _nodes(cluster)["n1"].free_gpus == free


def test_a_node_that_shrinks_below_what_jobs_hold_has_nothing_free_and_no_less(cluster: Cell) -> None:
    """Nor does one that offers more than its pool's document says give more."""
    cluster.report(CLUSTER, a_report())
    [job] = cluster.submit(gpus=6)
    assert _places(cluster) == 1
    cluster.report(CLUSTER, a_report(offered=Amounts(4, 500, 1), foreign=Amounts(2, 9_000, 5)))
    node = _nodes(cluster)["n1"]
    assert (node.free_gpus, node.placeable_cpus, node.placeable_memory_mib) == (0, 0, 0)
    cluster.end(job)
    assert _nodes(cluster)["n1"].free_gpus == 2
    cluster.report(CLUSTER, a_report(offered=Amounts(16, 960_000, 1 << 24)))
    node = _nodes(cluster)["n1"]
    assert (node.free_gpus, node.placeable_cpus, node.placeable_memory_mib) == (8, 96, 1 << 20)


def test_a_region_speaks_of_its_own_clusters_pools_only(cluster: Cell) -> None:
    """Neither another region's pool nor one that nobody described; and a local region names no nodes."""
    cluster.add_cluster("fr-k8s-2", "other")
    cluster.add_pool("local", FR)
    cluster.report("fr-k8s-2", a_report("n1", "other"))
    before = _nodes(cluster)
    foreign = (a_report("n1", "other", state=NodeState.DOWN), a_report("x", "absent"), a_report("local-0", "local"))
    assert cluster.report(CLUSTER, *foreign) == Reported(unknown_pools=("absent", "local", "other"))
    assert cluster.report(FR, a_report("local-0", "local", state=NodeState.DOWN)).changed == 0
    assert _nodes(cluster) == before


def test_two_clusters_may_use_one_name_for_their_nodes(cluster: Cell) -> None:
    """What is taken on one and given back to it never touches the other."""
    cluster.add_cluster("fr-k8s-2", "other")
    cluster.report(CLUSTER, a_report("n1"))
    cluster.report("fr-k8s-2", a_report("n1", "other"))
    jobs = cluster.submit(2, gpus=8)
    assert _places(cluster) == 2
    assert cluster.rows("select pool, free_mask from node order by pool") == [(POOL, 0), ("other", 0)]
    cluster.end(jobs[0])
    assert sorted(cluster.rows("select free_mask from node")) == [(0,), (255,)]


def test_a_cluster_that_was_not_reported_lately_gets_no_work(cluster: Cell) -> None:
    """Whether its region fell silent about nodes, or says itself that it does not know how they are."""
    cluster.submit()
    cluster.report(CLUSTER, a_report(), age_s=UNSEEN_AFTER_S + 5)
    assert _places(cluster) == 0
    cluster.report(CLUSTER, a_report())
    with cluster.store.begin() as work:
        work.nodes.lose_sight(RegionCode(CLUSTER))
    assert _places(cluster) == 0
    cluster.report(CLUSTER, a_report())
    assert _places(cluster) == 1


@pytest.mark.parametrize("hold", [Hold.CORDONED, Hold.DRAINING])
@pytest.mark.parametrize("node", ["n1", None])
def test_what_an_operator_holds_back_gets_no_work_until_it_is_let_go(
    cluster: Cell, hold: Hold, node: str | None
) -> None:
    """A node, or a pool with the nodes that come later; what runs there is left alone."""
    cluster.report(CLUSTER, a_report("n1"))
    [first, _] = cluster.submit(2)
    cluster.run("update job set not_before = now() + interval '1 hour' where id <> :first", first=first)
    assert _places(cluster) == 1
    cluster.run("update job set not_before = null")
    assert _hold(cluster, node, hold, "new fans")
    cluster.report(CLUSTER, a_report("n1"), *([] if node else [a_report("n2")]))
    nodes = _nodes(cluster)
    assert {one.state.value for one in nodes.values()} == {hold.value}
    assert nodes["n1"].reason(hold if node is None else Hold.NONE, "new fans") == "new fans"
    assert _places(cluster) == 0
    with cluster.store.begin() as work:
        assert len(work.nodes.attempts_on(POOL, NodeName(node) if node else None)) == 1
    assert _hold(cluster, node, Hold.NONE)
    assert _places(cluster) == 1


def test_the_gravest_word_about_a_node_counts(cluster: Cell) -> None:
    """Down before draining before cordoned, whoever said it."""
    _hold(cluster, None, Hold.CORDONED)
    cluster.report(CLUSTER, a_report(state=NodeState.DRAINING))
    assert _nodes(cluster)["n1"].state is NodeState.DRAINING
    _hold(cluster, None, Hold.DRAINING)
    cluster.report(CLUSTER, a_report(state=NodeState.CORDONED))
    assert _nodes(cluster)["n1"].state is NodeState.DRAINING
    cluster.report(CLUSTER, a_report(state=NodeState.DOWN))
    assert _nodes(cluster)["n1"].state is NodeState.DOWN
    assert not _hold(cluster, "absent", Hold.CORDONED)


def test_nodes_of_the_local_executor_can_be_held_back_too(cell: Cell) -> None:
    """A smaller and then larger pool does not forget it."""
    with cell.store.begin() as work:
        work.nodes.hold(PoolName("fr-h100"), NodeName("fr-h100-1"), Hold.DRAINING, "")
    cell.add_pool("fr-h100", FR, nodes=1)
    assert _nodes(cell)["fr-h100-1"].state is NodeState.DOWN
    cell.add_pool("fr-h100", FR, nodes=2)
    assert _nodes(cell)["fr-h100-1"].state is NodeState.DRAINING


def test_a_pools_document_says_how_many_nodes_of_its_cluster_count(cluster: Cell) -> None:
    """Nodes that are there stay; one that is new waits until there is room."""
    cluster.add_pool(POOL, CLUSTER, nodes=2, price="2.00")
    reported = cluster.report(CLUSTER, *(a_report(f"n{number}") for number in (5, 6, 7)))
    assert (reported, set(_nodes(cluster))) == (Reported(changed=2, surplus=1), {"n5", "n6"})
    cluster.report(CLUSTER, *(a_report(f"n{number}") for number in (1, 5, 6)))
    assert set(_nodes(cluster)) == {"n5", "n6"}
    cluster.report(CLUSTER, *(a_report(f"n{number}") for number in (1, 6)))
    assert {name: one.state.value for name, one in _nodes(cluster).items()} == {
        "n1": "ready",
        "n5": "down",
        "n6": "ready",
    }


def test_a_node_that_a_report_names_twice_counts_once() -> None:
    """The first word is taken."""
    twice = [a_report(), a_report(state=NodeState.DOWN)]
    assert admit({POOL: 5}, set(), twice) == twice[:1]


def test_a_changed_document_resizes_what_clusters_shut(cluster: Cell) -> None:
    """The report stands while the shape changes."""
    cluster.report(CLUSTER, a_report(offered=Amounts(8, 96_000, 1 << 19)))
    cluster.add_pool(POOL, CLUSTER, nodes=None, cpus=48, memory_mib=1 << 18)
    node = _nodes(cluster)["n1"]
    assert (node.placeable_cpus, node.placeable_memory_mib) == (48, 1 << 18)
    cluster.add_pool(POOL, CLUSTER, nodes=None, cpus=128)
    node = _nodes(cluster)["n1"]
    assert (node.placeable_cpus, node.placeable_memory_mib) == (96, 1 << 19)
