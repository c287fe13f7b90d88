"""Nodes over REST and the worker API: what clusters report, what operators hold back, what becomes of what runs."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_cli.jobfile import load_all
from support.lab import EUROPE, Lab
from support.region_side import RegionSide, Run

Json = dict[str, Any]
CLUSTER, POOL = "fr-k8s-1", "k8s-h100"
OFFERED: Json = {"gpus": 8, "cpu_milli": 96_000, "memory_mib": 1 << 20}


def _region(**changes: Any) -> Json:
    known = next(one for one in load_all(EUROPE) if one["kind"] == "Region" and one["name"] == "fr-bru-1")
    return {**known, "name": CLUSTER, "executor": "kubernetes", **changes}


def _pool(**changes: Any) -> Json:
    known = next(one for one in load_all(EUROPE) if one["kind"] == "Pool" and one["region"] == "fr-bru-1")
    of_cluster = {name: value for name, value in known.items() if name != "nodes"}
    shape = {"accelerator": "H300", "gpus_per_node": 8, "cpus": 96, "memory_mib": 1 << 20}
    return {**of_cluster, "name": POOL, "region": CLUSTER, **shape, **changes}


def a_node(name: str = "gpu-1.example", **changes: Any) -> Json:
    """Return what a cluster says about a node that is well."""
    return {"pool": POOL, "name": name, "state": "ready", "offered": OFFERED, **changes}


@pytest.fixture
def cluster(lab: Lab) -> RegionSide:
    """Return a joined region whose nodes come from its cluster; the only one with H300."""
    lab.apply(_region(), _pool())
    lab.join(CLUSTER)
    return lab.region(CLUSTER)


def _report(cluster: RegionSide, *nodes: Json, expect: int = 200, **more: Any) -> Json:
    body: Json = {"supervisor_id": "sup-1", "nonce": "0" * 32, "nodes": {"nodes": list(nodes), **more}}
    body["live"] = [{"attempt_id": run.attempt, "fence": run.fence} for run in cluster.held.values()]
    return cluster.control.worker(CLUSTER, "/worker/v1/sync", body, expect=expect)


def _shown(lab: Lab, name: str = "gpu-1.example") -> Json:
    items = lab.admin("GET", "/v1/nodes", expect=200).json()["items"]
    [found] = [one for one in items if one["name"] == name]
    return dict(found)


def _running(lab: Lab, cluster: RegionSide) -> tuple[str, Run]:
    job = lab.place(resources={"gpu": "H300:2"}, max_wait="1h")
    run = cluster.take(lab.grant_of(job)[0])
    cluster.start(run)
    return job, run


def test_an_operator_sees_what_a_cluster_says_of_a_node(lab: Lab, cluster: RegionSide) -> None:
    """Its state and why, what it offers, what foreign pods use, what is left, where it stands, when it was seen."""
    foreign = {"gpus": 1, "cpu_milli": 1_500, "memory_mib": 512}
    _report(cluster, a_node(foreign=foreign, state="cordoned", reason="unschedulable", block="b1", rack="r7"))
    shown = _shown(lab)
    assert shown.pop("seen_at") is not None
    assert shown == {
        "name": "gpu-1.example",
        "pool": POOL,
        "region": CLUSTER,
        "state": "cordoned",
        "reason": "unschedulable",
        "hold": "",
        "pool_hold": "",
        "is_unverified": False,
        "gpus": 8,
        "gpus_free": 7,
        "cpus": 96,
        "cpus_free": 94,
        "memory_mib": 1 << 20,
        "memory_mib_free": (1 << 20) - 512,
        "offered": {"gpus": 8, "cpus": 96.0, "memory_mib": 1 << 20},
        "foreign": {"gpus": 1, "cpus": 1.5, "memory_mib": 512},
        "block": "b1",
        "rack": "r7",
    }


def test_a_job_runs_on_the_node_that_its_cluster_named(lab: Lab, cluster: RegionSide) -> None:
    """And not before any was named, nor while the region says that it does not know."""
    job = lab.submit(resources={"gpu": "H300:8"}, max_wait="1h")
    lab.hear()
    assert lab.cycle().placed == 0
    _report(cluster, a_node(), is_current=False)
    assert lab.cycle().placed == 0
    _report(cluster, a_node())
    assert lab.cycle().placed == 1
    run = cluster.take(lab.grant_of(job)[0])
    assert [rank["node"] for rank in run.order["ranks"]] == ["gpu-1.example"]


@pytest.mark.parametrize(
    "node",
    [
        a_node(name="Node"),
        a_node(name="a/b"),
        a_node(pool="P"),
        a_node(state="lost"),
        a_node(reason="two\nlines"),
        a_node(reason="x" * 201),
        a_node(offered={**OFFERED, "gpus": -1}),
        a_node(offered={**OFFERED, "cpu_milli": 1 << 31}),
        a_node(rack="a rack"),
        a_node(owner="somebody"),
    ],
)
def test_a_malformed_node_is_refused_and_nothing_of_the_report_is_kept(
    lab: Lab, cluster: RegionSide, node: Json
) -> None:
    """A region is not trusted with other values than the columns hold."""
    _report(cluster, a_node("good"), node, expect=422)
    assert lab.one("select count(*) from node where pool = :pool", pool=POOL) == 0


def test_another_regions_credential_moves_no_node(lab: Lab, cluster: RegionSide) -> None:
    """Nor does a region of the local executor name nodes."""
    _report(cluster, a_node())
    body = {"supervisor_id": "sup-2", "nonce": "0" * 32, "nodes": {"nodes": [a_node(state="down")]}}
    lab.worker("fr-bru-1", "/worker/v1/sync", body)
    assert _shown(lab)["state"] == "ready"


def test_a_drained_node_gets_no_new_work_and_what_runs_goes_on(lab: Lab, cluster: RegionSide) -> None:
    """Until an operator lets it take work again; each word is in the audit log."""
    _report(cluster, a_node())
    job, run = _running(lab, cluster)
    path = f"/v1/pools/{POOL}/nodes/gpu-1.example"
    answer = lab.admin("POST", f"{path}:drain", {"reason": "new fans"}, expect=200).json()
    assert answer == {"pool": POOL, "node": "gpu-1.example", "hold": "draining", "attempts": 1}
    assert (_shown(lab)["state"], _shown(lab)["reason"]) == ("draining", "new fans")
    down = cluster.sync(run.report("running"))
    assert (down["stop"], lab.state(job)) == ([], "running")
    waiting = lab.submit(resources={"gpu": "H300:1"}, max_wait="1h")
    assert lab.cycle().placed == 0
    lab.admin("POST", f"{path}:uncordon", {}, expect=200)
    lab.hear()
    assert lab.cycle().placed == 1
    assert lab.state(waiting) == "starting"
    entries = lab.rows("select subject, body ->> 'verb' from audit_entry where act = 'nodes_held' order by id")
    assert entries == [(f"node:{POOL}/gpu-1.example", "drain"), (f"node:{POOL}/gpu-1.example", "uncordon")]


def test_draining_with_a_grace_asks_what_runs_to_end_and_it_is_tried_again(lab: Lab, cluster: RegionSide) -> None:
    """By SIGTERM, the grace and SIGKILL; the attempts end as preempted."""
    _report(cluster, a_node(), a_node("gpu-2.example"))
    job, run = _running(lab, cluster)
    lab.admin("POST", f"/v1/pools/{POOL}:drain", {"grace_s": 30}, expect=200)
    [order] = cluster.sync()["stop"]
    assert (order["attempt_id"], order["reason"], order["grace_s"]) == (run.attempt, "preempted", 30.0)
    cluster.end(run, "preempted", reason="preempted")
    assert lab.state(job) == "recovering"
    lab.admin("POST", f"/v1/pools/{POOL}:uncordon", {}, expect=200)
    lab.pass_time(5)
    _report(cluster, a_node(), a_node("gpu-2.example"))
    assert lab.cycle().placed == 1


def test_what_nobody_has_redeemed_yet_is_taken_back_at_once_when_its_node_is_emptied(
    lab: Lab, cluster: RegionSide
) -> None:
    """Nothing runs, so nothing is asked to stop; the grant is worth nothing any more."""
    _report(cluster, a_node())
    job = lab.place(resources={"gpu": "H300:2"}, max_wait="1h")
    grant, _ = lab.grant_of(job)
    lab.admin("POST", f"/v1/pools/{POOL}:drain", {"grace_s": 30}, expect=200)
    assert lab.state(job) == "recovering"
    assert cluster.redeem(grant)["outcome"] == "gone"
    assert _shown(lab)["gpus_free"] == 8


def test_a_drained_pool_holds_back_the_nodes_that_come_later(lab: Lab, cluster: RegionSide) -> None:
    """It says so of each."""
    lab.admin("POST", f"/v1/pools/{POOL}:cordon", {"reason": "contract ends"}, expect=200)
    _report(cluster, a_node())
    shown = _shown(lab)
    assert (shown["state"], shown["pool_hold"], shown["reason"]) == ("cordoned", "cordoned", "contract ends")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("pools/absent:drain", {}, 404),
        (f"pools/{POOL}/nodes/absent:drain", {}, 404),
        (f"pools/{POOL}:explode", {}, 422),
        (f"pools/{POOL}:cordon", {"grace_s": 5}, 422),
        (f"pools/{POOL}:drain", {"grace_s": -1}, 422),
        (f"pools/{POOL}:drain", {"reason": "a\nb"}, 422),
        (f"pools/{POOL}:drain", {"reason": "x" * 201}, 422),
    ],
)
def test_a_faulty_word_about_nodes_is_refused(
    lab: Lab, cluster: RegionSide, path: str, body: Json, status: int
) -> None:
    """And holds nothing back."""
    lab.admin("POST", f"/v1/{path}", body, expect=status)
    assert lab.one("select count(*) from audit_entry where act = 'nodes_held'") == 0


def test_a_pool_without_a_number_of_nodes_needs_a_cluster_that_names_them(lab: Lab) -> None:
    """The local executor's nodes are counted."""
    answer = lab.apply(_pool(region="fr-bru-1"), expect=422)
    assert answer["errors"][0]["field"] == "documents.0.nodes"


def test_a_region_with_pools_keeps_its_executor(lab: Lab, cluster: RegionSide) -> None:
    """The nodes of its pools are the executor's."""
    assert lab.apply(_region(executor="local"), expect=409)["code"] == "region_executor"


def test_a_gang_may_wait_for_a_cluster_that_can_grow(lab: Lab, cluster: RegionSide) -> None:
    """A pool that states how many nodes it has at most refuses a larger one at once."""
    lab.submit(resources={"gpu": "H300:8"}, nodes=40)
    lab.apply(_pool(nodes=39))
    lab.admin("POST", "/v1/projects/default/jobs", {**_gang(), "nodes": 40}, expect=422)


def _gang() -> Json:
    return {"name": "gang", "command": ["true"], "resources": {"gpu": "H300:8"}}
