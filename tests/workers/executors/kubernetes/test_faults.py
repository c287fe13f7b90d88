"""Whatever breaks between the executor and the cluster: no pod is lost, none is made twice, none is left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.identifiers import new_id
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import RankState, RankStatus
from nordan_workers.executors.kubernetes import executor as module
from nordan_workers.executors.kubernetes import names, records
from nordan_workers.executors.kubernetes.binding import Binder
from nordan_workers.executors.kubernetes.client import ClusterUnreachable, Object
from nordan_workers.executors.kubernetes.executor import KubernetesExecutor
from nordan_workers.shim.linux import boot_id
from nordan_workers.shim.records import STOP, Stop, read, write
from support.attempts import launch_order, until
from support.pod_lab import PodLab, name_of, patient
from workers.executors.contract import ended, running, started

LONG = ["sleep", "600"]


def first(executor: KubernetesExecutor, attempt_id: AttemptId) -> RankStatus:
    return executor.poll(attempt_id).ranks[0]


@contextmanager
def broken_after(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[list[str]]:
    """Let one of the binder's acts be done and its answer be lost, the first time."""
    real = getattr(Binder, name)
    lost: list[str] = []

    def act(self: Binder, *arguments: object, **options: object) -> object:
        answer = real(self, *arguments, **options)
        if not lost:
            lost.append(name)
            raise ClusterUnreachable("the answer was lost")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(Binder, name, act)
        yield lost


@pytest.mark.parametrize("act", ["create", "bind"])
def test_an_act_whose_answer_was_lost_is_not_done_twice(
    lab: PodLab, executor: KubernetesExecutor, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    with broken_after(monkeypatch, act) as lost:
        status = running(executor, started(executor, launch_order(LONG)))
    assert lost == [act]
    assert [pod["metadata"]["uid"] for pod in lab.pods()] == [status.ranks[0].pod]


def test_a_supervisor_that_died_between_the_creation_and_its_note_is_succeeded_by_one_that_finds_the_pod(
    lab: PodLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, executor = launch_order(LONG), lab.executor()
    create, made = Binder.create, threading.Event()

    def create_and_die(self: Binder, *arguments: object) -> Object:
        create(self, *arguments)  # type: ignore[arg-type]  # passed on as they came
        made.set()
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Binder, "create", create_and_die)
        patched.setattr(threading, "excepthook", lambda _: None)
        started(executor, order)
        assert made.wait(10.0)
    executor.close()
    uid = lab.pod(order)["metadata"]["uid"]
    successor = lab.executor()
    assert successor.adopt() == (order.attempt_id,)
    assert running(successor, started(successor, order)).ranks[0].pod == uid
    assert len(lab.pods()) == 1


def test_a_successor_finds_what_runs_and_what_has_ended_meanwhile(lab: PodLab) -> None:
    executor = lab.executor(patient())
    running_on, ending = launch_order(LONG), launch_order(LONG)
    for order in (running_on, ending):
        running(executor, started(executor, order))
    executor.close()
    lab.cluster.end_pod(lab.namespace, name_of(ending), exit_code=4)
    successor = lab.executor(patient())
    assert set(successor.adopt()) == {running_on.attempt_id, ending.attempt_id}
    assert first(successor, AttemptId(running_on.attempt_id)).state is RankState.RUNNING
    status = ended(successor, AttemptId(ending.attempt_id))
    assert status.ranks[0].exit is not None
    assert status.ranks[0].exit.exit_code == 4
    assert 0.0 <= status.running_s < 60.0


def test_launches_while_the_api_server_is_away_are_made_when_it_is_back(
    lab: PodLab, executor: KubernetesExecutor
) -> None:
    plane = lab.cluster.plane
    before = running(executor, started(executor, launch_order(LONG)))
    orders = [launch_order(LONG) for _ in range(5)]
    with plane.api_server.paused():
        ids = [started(executor, order) for order in orders]
        assert [first(executor, one).state for one in ids] == [RankState.WAITING] * 5
        assert executor.poll(before.attempt_id).ranks[0].state is RankState.RUNNING
    for one in ids:
        until(lambda one=one: executor.poll(one).is_started, "it runs", 60.0)  # type: ignore[misc]  # bound now
    assert len(lab.pods()) == 6


def test_requests_that_hang_while_etcd_stands_still_are_not_carried_out_twice(lab: PodLab) -> None:
    executor = lab.executor(patient())
    runs = running(executor, started(executor, launch_order(LONG))).attempt_id
    orders = [launch_order(LONG) for _ in range(5)]
    with lab.cluster.plane.etcd.paused():
        ids = [started(executor, order) for order in orders]
        # Longer than our client waits for an answer.
        time.sleep(20.0)
        assert first(executor, runs).state is RankState.RUNNING
    for one in ids:
        until(lambda one=one: executor.poll(one).is_started, "it runs", 90.0)  # type: ignore[misc]  # bound now
    assert len(lab.pods()) == 6
    assert not executor.poll(runs).is_over


def test_a_pod_of_somebody_else_under_the_same_name_is_neither_taken_nor_touched(
    lab: PodLab, executor: KubernetesExecutor
) -> None:
    order = launch_order(LONG)
    taken = lab.cluster.post(lab.pods_path, a_pod(name_of(order), {"app": "database"}))
    rank = ended_within(executor, started(executor, order), 20.0)
    assert rank.cause is Reason.INTERNAL_ERROR
    executor.forget(AttemptId(order.attempt_id))
    executor.sweeper.sweep()
    assert [pod["metadata"]["uid"] for pod in lab.pods()] == [taken["metadata"]["uid"]]
    assert "nodeName" not in lab.pod(order)["spec"]


def test_what_runs_outlives_a_restart_of_the_api_server_and_its_end_is_seen(lab: PodLab) -> None:
    executor = lab.executor(patient())
    orders = [launch_order(LONG) for _ in range(3)]
    ids = [started(executor, order) for order in orders]
    for one in ids:
        running(executor, one)
    uids = {pod["metadata"]["uid"] for pod in lab.pods()}
    lab.cluster.plane.restart_api_server()
    lab.cluster.end_pod(lab.namespace, name_of(orders[0]), exit_code=0)
    until(lambda: executor.poll(ids[0]).is_over, "the end is seen", 60.0)
    assert not executor.poll(ids[0]).has_failed
    assert {first(executor, one).state for one in ids[1:]} == {RankState.RUNNING}
    assert {pod["metadata"]["uid"] for pod in lab.pods()} == uids


def test_a_watch_that_is_cut_goes_on_where_it_was(lab: PodLab) -> None:
    executor = lab.executor(patient())
    order = launch_order(LONG)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    watch = executor.watches[0]
    lists, resumes = watch.lists, watch.resumes
    for line in tuple(lab.clients[0]._open):
        line.cut()
    lab.cluster.end_pod(lab.namespace, name_of(order), exit_code=0)
    ended(executor, attempt_id)
    assert watch.lists == lists
    assert watch.resumes > resumes


def test_a_watch_whose_place_is_forgotten_lists_anew_and_finds_what_has_gone(lab: PodLab) -> None:
    executor = lab.executor(patient())
    order = launch_order(LONG)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    watch = executor.watches[0]
    lists = watch.lists

    def place_is_forgotten() -> bool:
        # The first version of all is older than all that the server remembers. An event that comes before the cut
        # brings a newer one: once more then.
        watch._version = "1"
        for line in tuple(lab.clients[0]._open):
            line.cut()
        give_up_s = time.monotonic() + 3.0
        while watch.lists == lists and time.monotonic() < give_up_s:
            time.sleep(0.01)
        return watch.lists > lists

    until(place_is_forgotten, "a new list", 30.0)
    lab.cluster.end_pod(lab.namespace, name_of(order), exit_code=0)
    ended(executor, attempt_id)


def test_a_pod_that_somebody_else_deletes_is_a_loss(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    lab.cluster.delete(f"{lab.pods_path}/{name_of(order)}")
    rank = ended(executor, attempt_id).ranks[0]
    assert (rank.state, rank.cause) == (RankState.LOST, Reason.NODE_LOST)
    started(executor, order)
    assert lab.pods() == []


def test_a_node_that_is_deleted_is_a_loss_once_the_deadline_has_passed(
    lab: PodLab, executor: KubernetesExecutor
) -> None:
    (node,) = lab.cluster.add_fake_nodes(1, prefix="doomed")
    order = on_node(launch_order(LONG), node)
    attempt_id = started(executor, order, life_s=6.0)
    running(executor, attempt_id)
    lab.cluster.remove_nodes([node])
    until((executor._attempts[attempt_id].folder / STOP).exists, "its agent is told to stop", 10.0)
    executor.extend({attempt_id: SystemClock().monotonic() + 600.0})
    rank = ended_within(executor, attempt_id, 30.0)
    assert (rank.state, rank.cause) == (RankState.LOST, Reason.NODE_LOST)


def test_the_agents_word_ends_what_runs_on_a_silent_node_before_its_bound(
    lab: PodLab, executor: KubernetesExecutor
) -> None:
    (node,) = lab.cluster.add_fake_nodes(1, prefix="silent")
    order = on_node(launch_order(LONG), node)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    lab.cluster.remove_nodes([node])
    until(lambda: executor._attempts[attempt_id].condemned is not None, "it is given up", 10.0)
    assert not executor.poll(attempt_id).is_over
    folder = executor._attempts[attempt_id].seats[0].folder
    write(folder / records.AGENT, records.AgentRecord(boot_id(), 1.0, records.AgentState.ENDED))
    assert ended_within(executor, attempt_id, 10.0).cause is Reason.NODE_LOST


def test_a_pod_that_no_kubelet_takes_is_given_up(lab: PodLab, executor: KubernetesExecutor) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    lab.cluster.ensure("/api/v1/nodes", {"metadata": {"name": "deaf"}, "status": status})
    order = on_node(launch_order(LONG), "deaf")
    rank = ended_within(executor, started(executor, order), 30.0)
    assert (rank.state, rank.cause) == (RankState.EXITED, Reason.NODE_CAPACITY_TAKEN)
    lab.until_pods(0)
    lab.cluster.remove_nodes(["deaf"])


def test_a_job_that_the_cluster_refuses_ends_with_its_reason(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG).model_copy(update={"image": "NOT//an image"})
    bad = order.model_copy(update={"pool": "not a label value"})
    rank = ended_within(executor, started(executor, bad), 10.0)
    assert (rank.state, rank.cause) == (RankState.EXITED, Reason.INTERNAL_ERROR)
    assert "422" in rank.message


def test_launched_from_two_threads_at_once_an_attempt_has_one_pod(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG)
    folders = executor.prepare(order)
    deadline_s = SystemClock().monotonic() + 600.0
    threads = [threading.Thread(target=executor.launch, args=(order, folders, deadline_s)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running(executor, AttemptId(order.attempt_id))
    assert len(lab.pods()) == 1


def test_a_job_with_one_rank_costs_three_requests(lab: PodLab) -> None:
    executor = lab.executor(patient())
    executor.adopt()
    until(executor._site.nodes.is_listed.is_set, "the first lists")
    until(lambda: lab.clients[0].requests >= 4, "both watches")
    before = lab.clients[0].requests
    orders = [launch_order(["sleep", "0.5"]) for _ in range(20)]
    ids = [started(executor, order) for order in orders]
    for one in ids:
        ended(executor, one)
        executor.forget(one)
    lab.until_pods(0)
    assert lab.clients[0].requests - before <= 3 * 20


def test_a_stop_while_the_pod_is_being_made_leaves_none(lab: PodLab, executor: KubernetesExecutor) -> None:
    orders = [launch_order(LONG) for _ in range(30)]
    for order in orders:
        started(executor, order)
        executor.stop(AttemptId(order.attempt_id), 0.0)
    for order in orders:
        ended_within(executor, AttemptId(order.attempt_id), 60.0)
    lab.until_pods(0)


def test_a_pod_that_was_under_way_when_its_attempt_was_called_over_is_removed(
    lab: PodLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`poll` says that there never was one, since the request has not reached the cluster yet."""
    executor = lab.executor(patient())
    create, made = Binder.create, list[Object]()
    asked, is_over = threading.Event(), threading.Event()

    def create_slowly(self: Binder, *arguments: object) -> Object:
        asked.set()
        assert is_over.wait(10.0)
        made.append(create(self, *arguments))  # type: ignore[arg-type]  # passed on as they came
        return made[0]

    monkeypatch.setattr(Binder, "create", create_slowly)
    attempt_id = started(executor, launch_order(LONG))
    assert asked.wait(10.0)
    executor.stop(attempt_id, 0.0)
    ended(executor, attempt_id)
    is_over.set()
    until(lambda: bool(made), "its pod is made")
    lab.until_pods(0)


def test_orphans_are_removed_and_strangers_reported(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG)
    running(executor, started(executor, order))
    orphan = a_pod("orphan", {**OURS, names.LABEL_ATTEMPT: new_id("att")})
    stranger = a_pod("stranger", {"app": "database"})
    forged = a_pod("forged", {**OURS, names.LABEL_ATTEMPT: order.attempt_id, names.LABEL_RANK: "0"})
    elsewhere = a_pod("elsewhere", {**OURS, names.LABEL_ATTEMPT: new_id("att"), names.LABEL_REGION: "se-sto-1"})
    for one in (orphan, stranger, forged, elsewhere):
        lab.cluster.post(lab.pods_path, one)
    service = {"metadata": {"name": "left", "labels": {**OURS, names.LABEL_ATTEMPT: new_id("att")}}}
    spec = {"clusterIP": "None", "ports": [{"port": 1}]}
    lab.cluster.post(f"/api/v1/namespaces/{lab.namespace}/services", {**service, "spec": spec})
    kept = {name_of(order), "stranger", "forged", "elsewhere"}
    until(lambda: {pod["metadata"]["name"] for pod in lab.pods()} == kept, "the orphan is gone", 20.0)
    until(lambda: executor.sweeper.unexplained == 2, "both strangers are counted", 10.0)
    left = lab.cluster.get(f"/api/v1/namespaces/{lab.namespace}/services")["items"]
    assert [one["metadata"]["name"] for one in left] == []
    assert executor.sweeper.removed == 2


def test_a_gang_has_a_service_while_it_lives(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG, ranks=3)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    path = f"/api/v1/namespaces/{lab.namespace}/services"
    until(lambda: len(lab.cluster.get(path)["items"]) == 1, "its Service")
    assert {pod["spec"]["nodeName"] for pod in lab.pods()} == {"node-0", "node-1", "node-2"}
    executor.forget(attempt_id)
    until(lambda: lab.cluster.get(path)["items"] == [], "no Service is left")
    lab.until_pods(0)


def test_a_stop_is_told_to_the_agents_too(lab: PodLab, executor: KubernetesExecutor) -> None:
    order = launch_order(LONG)
    attempt_id = started(executor, order)
    running(executor, attempt_id)
    with lab.cluster.plane.api_server.paused(), contextlib.suppress(ClusterUnreachable):
        executor.stop(attempt_id, 30.0)
        told = read(executor._attempts[attempt_id].folder / STOP, Stop)
    assert told is not None
    assert told.grace_s == 30.0
    ended_within(executor, attempt_id, 60.0)


OURS = {
    names.LABEL_MANAGED_BY: names.MANAGED_BY,
    names.LABEL_REGION: "fr-bru-1",
    names.LABEL_RANK: "0",
}


def a_pod(name: str, labels: dict[str, str]) -> Object:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "localhost/x"}], "schedulerName": "nobody"},
    }


def on_node(order: LaunchOrder, node: str) -> LaunchOrder:
    ranks = tuple(rank.model_copy(update={"node": node}) for rank in order.ranks)
    return order.model_copy(update={"ranks": ranks})


def ended_within(executor: KubernetesExecutor, attempt_id: AttemptId, limit_s: float) -> RankStatus:
    until(lambda: executor.poll(attempt_id).is_over, "the attempt's end", limit_s)
    return executor.poll(attempt_id).ranks[0]


def test_what_the_gateway_lays_while_an_attempt_is_forgotten_goes_too(
    lab: PodLab, executor: KubernetesExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had let an agent in just before the token went."""
    attempt_id = started(executor, launch_order(["true"]))
    ended(executor, attempt_id)
    root = executor._folders(executor._attempts[attempt_id]).root
    real = module._delete_records

    def delete_records(folder: Path) -> None:
        (root / ".incoming-1").mkdir(parents=True)
        real(folder)

    monkeypatch.setattr(module, "_delete_records", delete_records)
    executor.forget(attempt_id)
    assert not root.exists()
