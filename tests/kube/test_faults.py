"""Whatever breaks between control plane, region and cluster while jobs run: none is lost, no pod is doubled or left.

The whole stack on real nodes; the same faults on the executor alone, and more, are in
tests/workers/executors/kubernetes/test_faults.py.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.chaos_stack import until
from support.kube.binaries import Unavailable
from support.kube.fixtures import skip_or_fail
from support.kube.job_pods import IMAGE, agent_archive
from support.kube.node_cluster import NodeCluster
from support.kube_stack import Ground, KubeStack, kube_stack
from support.pod_books import SMALL, PodBooks, pod_books

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.long]
CODE = "fr-flt-1"
MINUTES_OFF_S = 7 * 60.0


@pytest.fixture(scope="module")
def one(kube_node: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeStack]:
    try:
        archive = agent_archive(tmp_path_factory.mktemp("images"))
    except Unavailable as reason:
        skip_or_fail(reason)
    with kube_stack(archive, Ground(kube_node, CODE, "FR", nodes=2)) as stack:
        yield stack


@pytest.fixture
def books(one: KubeStack) -> Iterator[PodBooks]:
    with pod_books(one, CODE) as books:
        yield books


def test_the_api_server_is_restarted(kube_node: NodeCluster, books: PodBooks) -> None:
    books.running(books.submit(2, lasting_s=12.0))
    books.submit(4, lasting_s=1.0)
    kube_node.plane.restart_api_server()
    books.check()


def test_etcd_stands_still_for_20_seconds(kube_node: NodeCluster, one: KubeStack, books: PodBooks) -> None:
    """A cancellation is carried out all the same: it goes through the region's gateway."""
    through = books.submit(1, lasting_s=25.0)
    (cancelled,) = books.submit(1, lasting_s=600.0)
    books.running([*through, cancelled])
    (attempt,) = one.owner.job(cancelled)["attempts"]
    with kube_node.plane.etcd.paused():
        began_s = time.monotonic()
        books.submit(4, lasting_s=1.0)
        books.cancel(cancelled)
        until(lambda: not _processes_of(one, attempt["id"]), "the cancelled program to be gone", 18.0)
        time.sleep(max(0.0, began_s + 20.0 - time.monotonic()))
    books.check()


def test_the_way_to_the_api_server_is_cut_again_and_again(books: PodBooks) -> None:
    books.submit(6, lasting_s=2.0)
    heard = books.site.region.log("supervisor").count("watch_interrupted")
    for _ in range(8):
        time.sleep(1.5)
        books.site.way.cut()
    books.check()
    assert books.site.region.log("supervisor").count("watch_interrupted") > heard


@pytest.mark.parametrize("point", ["after_create", "after_bind"])
def test_the_supervisor_is_killed_between_an_act_and_its_note(books: PodBooks, point: str) -> None:
    region = books.site.region
    region.set(crash_at=point)
    region.restart("supervisor")
    books.submit(4, lasting_s=1.0)
    until(lambda: region.has_ended("supervisor"), "the supervisor to die")
    made = {pod["metadata"]["name"] for pod in books.site.pods()}
    noted = {path.parent.parent.name for path in region.folder.glob("attempts/att_*/rank-0/created.json")}
    assert made
    if point == "after_create":
        assert made - {f"{attempt.replace('_', '-').lower()}-0" for attempt in noted}, "a pod of which no note tells"
    region.start("supervisor")
    books.check()
    region.set(crash_at="")


def test_the_regions_wall_clock_is_wrong_by_minutes(books: PodBooks) -> None:
    """First ahead, then behind; what runs meanwhile, what begins, what it writes and what it is billed stay right."""
    region = books.site.region
    books.running(books.submit(1, lasting_s=20.0))
    try:
        for off_s in (MINUTES_OFF_S, -MINUTES_OFF_S):
            region.clock_off_s = off_s
            region.restart("gateway")
            region.restart("supervisor")
            books.begun(books.submit(2, lasting_s=2.0))
        books.check()
    finally:
        region.clock_off_s = 0.0
        region.restart("gateway")
        region.restart("supervisor")


#: As short as the test needs it; jobs of sensitive data have 45 s.
TTL_S = 15.0
PULSE = "[ $NORDAN_FENCE -gt 1 ] || exec sleep 3600; echo again"
_STATE = "select state from node where pool = %(pool)s and name = %(name)s"


def test_what_runs_on_a_node_that_nobody_can_reach_ends_at_its_deadline_before_another_attempt_begins(
    kube_node: NodeCluster, one: KubeStack
) -> None:
    # 1. A job on the node whose cable can be cut, under a grant with a short life.
    with _only_second_node(kube_node, one):
        job = _under_a_short_grant(one)
        first = one.running(job)
        assert first["nodes"] == ["node2"]
    # 2. Cut off, it ends by itself, long before the cluster notices.
    with kube_node.cut_off("node2"):
        cut_s = time.monotonic()
        assert _processes_of(one, first["id"])
        until(lambda: not _processes_of(one, first["id"]), "the program to be gone", TTL_S + 10.0)
        gone_s = time.monotonic() - cut_s
        # 3. Nobody can know, so the region waits for the deadline before it says so.
        found = one.ends(job, 150.0)
        told_s = time.monotonic() - cut_s
    print(f"gone {gone_s:.0f} s after the cut, the next attempt through after {told_s:.0f} s")
    assert (found["state"], [one["nodes"] for one in found["attempts"]]) == ("succeeded", [["node2"], ["node1"]])
    assert (found["attempts"][0]["result"], found["attempts"][0]["reason"]) == ("lost", "node_lost")
    kube_node.wait_for("node2 is ready again", lambda: "node2" in kube_node.ready_nodes(), timeout_s=90)
    one.wait_until_nothing_is_left()


@contextmanager
def _only_second_node(cluster: NodeCluster, one: KubeStack) -> Iterator[None]:
    """Keep what is placed during the block off the first node."""
    node = {"pool": one.sites[CODE].ground.pool, "name": "node1"}
    cluster.kubectl("cordon", "node1")
    try:
        until(lambda: one.stack.rows(_STATE, node) == [("cordoned",)], "the control plane to know")
        yield
    finally:
        cluster.kubectl("uncordon", "node1")


def _under_a_short_grant(one: KubeStack) -> str:
    """Submit a job and shorten its grant's life before anybody redeems it."""
    document = {"name": "pulse", "command": ["sh", "-c", PULSE], "image": IMAGE, "resources": SMALL}
    rules = {"retry": {"limit": 1, "on": ["node_lost"]}, "policy": {"residency": ["FR"]}}
    region = one.sites[CODE].region
    region.kill("supervisor", signal.SIGSTOP)
    try:
        job = one.owner.submit({**document, **rules})
        one.wait(job, "the first attempt is placed", lambda found: found["attempts"])
        with one.stack.connect() as connection:
            connection.execute("update attempt_grant set ttl_s = %s where state = 'issued'", [TTL_S])
    finally:
        region.kill("supervisor", signal.SIGCONT)
    return job


def _processes_of(one: KubeStack, attempt: str) -> list[int]:
    """Return the processes that are part of an attempt's program: its name is in their environment."""
    return one.stack.pids_marked(f"NORDAN_ATTEMPT={attempt}")
