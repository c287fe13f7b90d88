"""Every way in which a pod's status tells of an end, as a row; and what cannot be believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nordan_core.domain.reasons import Reason
from nordan_workers.executors.kubernetes.status import Patience, PodView, report_of, trouble_of, view_of

ATTEMPT = "att_01kbc0000000000000000000zz"
RECORD = {
    "exit_code": 3,
    "signal": None,
    "user_s": 1.5,
    "system_s": 0.5,
    "max_rss_kib": 2048,
    "at_deadline": False,
    "started_at_s": 100.0,
    "ended_at_s": 107.5,
}
NOW = "2026-11-28T12:00:00Z"


def pod(status: dict[str, Any], *, labels: dict[str, str] | None = None, **about: Any) -> dict[str, Any]:
    ours = {
        "nordan.eu/attempt": ATTEMPT,
        "nordan.eu/rank": "2",
        "nordan.eu/managed-by": "supervisor",
    }
    return {
        "metadata": {"name": "att-x-2", "uid": "u-1", "labels": ours if labels is None else labels, **about},
        "spec": {"nodeName": "node-7"},
        "status": status,
    }


def job_state(**state: Any) -> dict[str, Any]:
    return {"phase": "Running", "startTime": NOW, "containerStatuses": [{"name": "job", "state": state}]}


def terminated(code: int, reason: str = "Error", message: str = "", **more: Any) -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "message": message, "startedAt": NOW, "finishedAt": NOW}
    return {**job_state(terminated=end), "phase": "Succeeded" if code == 0 else "Failed", **more}


def init(name: str, **state: Any) -> dict[str, Any]:
    return {"phase": "Pending", "startTime": NOW, "initContainerStatuses": [{"name": name, "state": state}]}


def disrupted(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]}


#: status → exit code, signal, cause
ENDS: dict[str, tuple[dict[str, Any], tuple[int | None, int | None, Reason | None]]] = {
    "it ended well": (terminated(0, "Completed"), (0, None, None)),
    "its program failed": (terminated(3), (3, None, None)),
    "its program was killed, and no record is there": (terminated(137), (None, 9, None)),
    "the record says what the exit code says": (terminated(3, message=json.dumps(RECORD)), (3, None, None)),
    "the record tells of a signal": (
        terminated(143, message=json.dumps({**RECORD, "exit_code": None, "signal": 15})),
        (None, 15, None),
    ),
    "a record that the exit code contradicts is not believed": (
        terminated(137, message=json.dumps({**RECORD, "exit_code": 0})),
        (None, 9, None),
    ),
    "the helper was never told to start": (
        terminated(143, message=json.dumps({**RECORD, "exit_code": None, "signal": 15, "started_at_s": None})),
        (None, 15, Reason.INTERNAL_ERROR),
    ),
    "the helper saw the kernel kill for memory": (
        terminated(137, message=json.dumps({**RECORD, "exit_code": None, "signal": 9, "oom": True})),
        (None, 9, Reason.OOM),
    ),
    "too little memory": (terminated(137, "OOMKilled"), (None, 9, Reason.OOM)),
    "a child ran out of memory and the program ended well": (terminated(0, "OOMKilled"), (0, None, None)),
    "evicted for want of the node's disk": (
        {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource"},
        (None, None, Reason.NODE_LOST),
    ),
    "its node was lost": ({"phase": "Failed", "reason": "NodeLost"}, (None, None, Reason.NODE_LOST)),
    "its node was shut down": (terminated(143) | {"reason": "NodeShutdown"}, (None, 15, Reason.NODE_LOST)),
    "its node was not heard of for long": (
        terminated(137, **disrupted("DeletionByTaintManager")),
        (None, 9, Reason.NODE_LOST),
    ),
    "it was drained away and ended well all the same": (
        terminated(0, **disrupted("EvictionByEvictionAPI")),
        (0, None, None),
    ),
    "no CPU on the node": ({"phase": "Failed", "reason": "OutOfcpu"}, (None, None, Reason.NODE_CAPACITY_TAKEN)),
    "no GPU on the node": (
        {"phase": "Failed", "reason": "OutOfnvidia.com/gpu"},
        (None, None, Reason.NODE_CAPACITY_TAKEN),
    ),
    "the kubelet did not admit it": (
        {"phase": "Failed", "reason": "UnexpectedAdmissionError"},
        (None, None, Reason.NODE_CAPACITY_TAKEN),
    ),
    "staging failed": (
        {**init("stage", terminated={"exitCode": 1}), "phase": "Failed"},
        (None, None, Reason.INTERNAL_ERROR),
    ),
    "it failed without a word": ({"phase": "Failed"}, (None, None, Reason.NODE_LOST)),
    "a node of paper says that it ended well": ({"phase": "Succeeded"}, (0, None, None)),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_end_of_a_pod(case: str) -> None:
    status, wanted = ENDS[case]
    outcome = view_of(pod(status)).outcome
    assert outcome is not None
    assert (outcome.report.exit_code, outcome.report.signal, outcome.cause) == wanted
    assert outcome.report.rank == 2
    assert bool(outcome.message) is (outcome.cause is not None)


RUNNING = {
    "the job's container runs": (job_state(running={"startedAt": NOW}), True),
    "the pod runs, as a node of paper says it": ({"phase": "Running"}, True),
    "the agent runs and the job does not yet": (job_state(waiting={"reason": "PodInitializing"}), False),
    "it is staged": (init("stage", running={"startedAt": NOW}), False),
    "it waits to be bound": ({"phase": "Pending"}, False),
    "nothing is known": ({}, False),
}


@pytest.mark.parametrize("case", RUNNING)
def test_a_pod_that_has_not_ended(case: str) -> None:
    status, is_running = RUNNING[case]
    view = view_of(pod(status))
    assert view.is_running is is_running
    assert view.outcome is None


def test_a_pod_tells_whose_it_is_and_where() -> None:
    view = view_of(pod({"phase": "Running", "podIP": "10.1.2.3"}, deletionTimestamp=NOW))
    assert (view.name, view.uid, view.attempt_id, view.rank) == ("att-x-2", "u-1", ATTEMPT, 2)
    assert (view.node, view.ip, view.is_deleting) == ("node-7", "10.1.2.3", True)


@pytest.mark.parametrize(
    "labels", [{}, {"nordan.eu/attempt": ATTEMPT}, {"nordan.eu/attempt": "x", "nordan.eu/managed-by": "supervisor"}]
)
def test_a_pod_that_does_not_say_that_it_is_ours_is_not(labels: dict[str, str]) -> None:
    assert view_of(pod({}, labels=labels)).attempt_id is None


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"status": {"containerStatuses": [{}]}}, {"spec": {}}])
def test_an_odd_object_is_read_without_a_fault(odd: dict[str, Any]) -> None:
    assert view_of(odd).outcome is None


def test_the_helpers_record_gives_the_numbers() -> None:
    found = report_of(json.dumps(RECORD), 2)
    assert found is not None
    report, duration_s = found
    assert (report.user_s, report.system_s, report.max_rss_kib, report.rank) == (1.5, 0.5, 2048, 2)
    assert duration_s == 7.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "lost",
        "{}",
        json.dumps({**RECORD, "user_s": -1}),
        json.dumps({**RECORD, "started_at_s": -1}),
        json.dumps({**RECORD, "oom": "perhaps"}),
        json.dumps({**RECORD, "ended_at_s": float("nan")}),
        json.dumps({**RECORD, "max_rss_kib": 1 << 60}),
        json.dumps({**RECORD, "exit_code": "0"}),
        json.dumps({**RECORD, "exit_code": 1 << 40}),
    ],
)
def test_what_a_job_may_write_in_its_place_is_not_a_record(text: str) -> None:
    found = report_of(text, 0)
    # A number in quotes is one that pydantic reads; it says the same and harms nobody.
    assert found is None or found[0].exit_code == 0


BOUND = view_of(pod({"phase": "Pending"}))
ADMITTED = view_of(pod({"phase": "Pending", "startTime": NOW}))
STAGING = view_of(pod(init("stage", running={"startedAt": NOW})))
PATIENCE = Patience()

TROUBLES: dict[str, tuple[PodView | None, float, Reason | None]] = {
    "it was launched just now": (None, 1.0, None),
    "no pod came": (None, 61.0, Reason.NODE_CAPACITY_TAKEN),
    "the kubelet has not taken it, within its time": (BOUND, 59.0, None),
    "the kubelet does not take it": (BOUND, 61.0, Reason.NODE_CAPACITY_TAKEN),
    "a large image is being pulled": (ADMITTED, 300.0, None),
    "the image does not come": (ADMITTED, 901.0, Reason.IMAGE_PULL_FAILED),
    "staging takes its time": (STAGING, 5000.0, None),
    "it runs": (view_of(pod(job_state(running={"startedAt": NOW}))), 5000.0, None),
    "it has ended": (view_of(pod({"phase": "Failed"})), 5000.0, None),
    "a first pull failed, another follows": (
        view_of(pod(job_state(waiting={"reason": "ErrImagePull"}) | {"phase": "Pending"})),
        5.0,
        None,
    ),
    "pulls failed again": (
        view_of(pod(job_state(waiting={"reason": "ImagePullBackOff"}) | {"phase": "Pending"})),
        5.0,
        Reason.IMAGE_PULL_FAILED,
    ),
    "our own image cannot be had": (
        view_of(pod(init("stage", waiting={"reason": "InvalidImageName"}))),
        5.0,
        Reason.IMAGE_PULL_FAILED,
    ),
}


@pytest.mark.parametrize("case", TROUBLES)
def test_a_rank_that_does_not_start(case: str) -> None:
    view, waited_s, cause = TROUBLES[case]
    trouble = trouble_of(view, waited_s, PATIENCE)
    assert (trouble.cause if trouble is not None else None) == cause
