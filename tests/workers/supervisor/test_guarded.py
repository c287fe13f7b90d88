"""A real supervisor on a real API server: a node that leaves its territory takes its attempt's grant away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.wire import LaunchOrder
from nordan_workers.cluster.nodes import is_doubted
from nordan_workers.executors.kubernetes import names
from nordan_workers.handover import SUPERVISOR_SOCKET, hand_over
from support.attempts import launch_order, region_folder, until
from support.fake_worker_api import REGION, FakeWorkerApi, worker_api
from support.kube.cluster import Cluster


def test_an_attempt_on_a_node_that_moves_is_fenced_and_the_node_is_marked(kube_control: Cluster) -> None:
    labels = {names.NODE_TERRITORY: "FR", names.NODE_REGION: REGION, names.NODE_POOL: "pool"}
    nodes = kube_control.add_fake_nodes(2, prefix="guarded", labels=labels)
    orders = [_order(node) for node in nodes]
    with region_folder() as folder, worker_api() as api, kube_control.namespace(prefix="jobs") as namespace:
        try:
            with _supervisor(folder, api, kube_control, namespace):
                for order in orders:
                    assert hand_over([api.grant(order)], folder / "run" / SUPERVISOR_SOCKET)
                until(lambda: all(_runs(api, order) for order in orders), "both attempts run", limit_s=60)
                moved = {"metadata": {"labels": {names.NODE_TERRITORY: "SE"}}}
                kube_control.patch(f"/api/v1/nodes/{nodes[0]}", moved)
                until(lambda: api.final(orders[0]) is not None, "the attempt has ended", limit_s=60)
                final = api.final(orders[0])
                assert final is not None
                assert final.result is AttemptResult.FENCED
                assert is_doubted(kube_control.get(f"/api/v1/nodes/{nodes[0]}"))
                assert api.final(orders[1]) is None
                assert not is_doubted(kube_control.get(f"/api/v1/nodes/{nodes[1]}"))
        finally:
            kube_control.remove_nodes(nodes)


def _order(node: str) -> LaunchOrder:
    order = launch_order()
    # KWOK's nodes bear a taint that only its own pods tolerate; the region binds past the scheduler, which would mind.
    return order.model_copy(update={"ranks": (order.ranks[0].model_copy(update={"node": node}),)})


def _runs(api: FakeWorkerApi, order: LaunchOrder) -> bool:
    return any(report.state is AttemptState.RUNNING for report in api.of(order).reports)


@contextmanager
def _supervisor(folder: Path, api: FakeWorkerApi, cluster: Cluster, namespace: str) -> Iterator[None]:
    join = api.join_file(folder / "join.json")
    join.write_text(json.dumps({**json.loads(join.read_text()), "territory": "FR"}))
    environment = {
        "PATH": os.environ["PATH"],
        "NORDAN_REGION_DIR": str(folder),
        "NORDAN_JOIN_FILE": str(join),
        "NORDAN_EXECUTOR": "kubernetes",
        "NORDAN_KUBECONFIG": str(cluster.kubeconfig),
        "NORDAN_JOBS_NAMESPACE": namespace,
        "NORDAN_AGENT_IMAGE": "nordan:1",
        "NORDAN_JOB_IMAGE": "job:1",
        "NORDAN_POD_GATEWAY_URL": "http://127.0.0.1:1",
    }
    with (folder / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nordan_workers.supervisor"], env=environment, stdout=log, stderr=log
        )
    told = folder / "supervisor.log"
    try:
        until(lambda: "supervisor_ready" in told.read_text(), "the supervisor is ready", limit_s=60)
        yield
    except BaseException:
        print(told.read_text())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
