"""The guard's acts: whom it stops, what it marks and removes, and that it goes on after failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import AttemptId
from nordan_core.identifiers import new_id
from nordan_workers.cluster.breaches import Breach, Place, PodSeen, Seat, Seats
from nordan_workers.cluster.guard import Guard
from nordan_workers.executors.kubernetes import names

PLACE = Place("fr-bru-1", "FR", "jobs")
RULES = frozenset({"kube-system"})
ATTEMPT, OTHER = AttemptId(new_id("att")), AttemptId(new_id("att"))
_LABEL = "nordan.node-restriction.kubernetes.io/"
LABELS = {f"{_LABEL}territory": "FR", f"{_LABEL}region": "fr-bru-1", f"{_LABEL}pool": "h100"}
POOL_TAINT = {"key": "nordan.eu/pool", "value": "h100", "effect": "NoSchedule"}


class Court:
    """Two live attempts on two nodes."""

    def __init__(self) -> None:
        self.fenced: list[set[AttemptId]] = []

    def seats(self) -> Seats:
        return {ATTEMPT: (Seat("h100", "n1"),), OTHER: (Seat("h100", "n2"),)}

    def fence(self, attempts: Collection[AttemptId]) -> None:
        self.fenced.append(set(attempts))


class Hands:
    """Notes what is done, or fails."""

    def __init__(self) -> None:
        self.marked: list[str] = []
        self.deleted: list[str] = []
        self.is_away = False

    def exempted(self) -> frozenset[str] | None:
        return RULES

    def mark_node(self, name: str) -> None:
        self._check()
        self.marked.append(name)

    def delete_pod(self, pod: PodSeen) -> None:
        self._check()
        self.deleted.append(pod.uid)

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("away")


def _node(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "7", "labels": {**LABELS, **labels}},
        "spec": {"taints": [POOL_TAINT]},
    }


def _pod(name: str, namespace: str = "jobs", *, gpus: str = "1", **labels: str) -> dict[str, Any]:
    container = {"resources": {"limits": {"nvidia.com/gpu": gpus}}}
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels}
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [container]}, "status": {}}


def _of_attempt() -> dict[str, Any]:
    pod = _pod(names.pod_name(ATTEMPT, 0))
    pod["metadata"]["labels"] = {names.LABEL_ATTEMPT: ATTEMPT, names.LABEL_RANK: "0"}
    return pod


class Scene:
    """A guard with what it is told and what it does."""

    def __init__(self) -> None:
        self.court, self.hands = Court(), Hands()
        self.guard = Guard(replace(PLACE, exempt=RULES), self.hands, gpu_resource="nvidia.com/gpu")
        self.guard.nodes.take_list([_node("n1"), _node("n2")])
        self.guard.jobs.take_list([_of_attempt()])

    async def look(self) -> tuple[Breach, ...]:
        return await self.guard.look(self.court)


def test_while_all_is_lawful_nothing_is_done() -> None:
    async def play() -> None:
        scene = Scene()
        assert await scene.look() == ()
        assert (scene.court.fenced, scene.hands.marked, scene.hands.deleted) == ([], [], [])

    asyncio.run(play())


def test_a_node_that_changes_its_territory_is_marked_and_only_its_attempts_are_fenced() -> None:
    async def play() -> None:
        scene = Scene()
        scene.guard.nodes.take_change("MODIFIED", _node("n1", **{f"{_LABEL}territory": "SE"}))
        await scene.look()
        assert scene.court.fenced == [{ATTEMPT}]
        assert scene.hands.marked == ["n1"]

    asyncio.run(play())


def test_a_stranger_among_the_jobs_is_removed_and_its_node_is_doubted() -> None:
    async def play() -> None:
        scene = Scene()
        scene.guard.jobs.take_change("ADDED", _pod("patient-anna"))
        with capture_logs() as logs:
            await scene.look()
        assert scene.hands.deleted == ["uid-patient-anna"]
        assert scene.hands.marked == ["n1"]
        assert scene.court.fenced == [{ATTEMPT}]
        assert {one["event"] for one in logs} == {"breach_found", "node_marked", "stranger_removed"}
        assert "anna" not in str([{**one, "pod_uid": "", "subject": ""} for one in logs])

    asyncio.run(play())


def test_a_pod_from_elsewhere_with_gpus_is_left_alone_but_nothing_of_ours_stays_beside_it() -> None:
    async def play() -> None:
        scene = Scene()
        scene.guard.others.take_change("ADDED", _pod("x", "tenant"))
        scene.guard.others.take_change("ADDED", _pod("y", "tenant", gpus="0"))
        await scene.look()
        assert scene.hands.deleted == []
        assert scene.court.fenced == [{ATTEMPT}]
        assert scene.hands.marked == ["n1"]

    asyncio.run(play())


def test_what_failed_is_tried_again_and_a_breach_is_told_once() -> None:
    async def play() -> None:
        scene = Scene()
        scene.hands.is_away = True
        scene.guard.jobs.take_change("ADDED", _pod("x"))
        with capture_logs() as logs:
            await scene.look()
            scene.hands.is_away = False
            await scene.look()
        assert scene.hands.deleted == ["uid-x"]
        assert [one["event"] for one in logs].count("breach_found") == 1

    asyncio.run(play())


def test_before_both_lists_are_known_nothing_is_judged() -> None:
    async def play() -> None:
        court, hands = Court(), Hands()
        guard = Guard(replace(PLACE, exempt=RULES), hands, gpu_resource="nvidia.com/gpu")
        guard.jobs.take_list([_pod("x")])
        assert await guard.look(court) == ()
        assert hands.deleted == []

    asyncio.run(play())


def test_a_change_is_judged_at_once() -> None:
    async def play() -> None:
        scene = Scene()
        running = asyncio.create_task(scene.guard.run(scene.court))
        await asyncio.sleep(0.2)
        scene.guard.nodes.take_change("MODIFIED", _node("n2", **{f"{_LABEL}region": "other"}))
        await _until(lambda: bool(scene.court.fenced))
        running.cancel()
        assert scene.court.fenced[0] == {OTHER}

    asyncio.run(play())


def test_a_node_that_goes_takes_its_breach_along() -> None:
    async def play() -> None:
        scene = Scene()
        scene.guard.nodes.take_change("MODIFIED", _node("n3", **{f"{_LABEL}territory": "SE"}))
        scene.guard.nodes.take_change("DELETED", _node("n3"))
        assert await scene.look() == ()

    asyncio.run(play())


def test_a_pools_taint_that_vanishes_is_a_breach_and_one_that_never_was_is_none() -> None:
    async def play() -> None:
        scene = Scene()
        bare = _node("n1")
        bare["spec"] = {}
        scene.guard.nodes.take_list([bare, _node("n2")])
        assert await scene.look() == ()
        gone = _node("n2")
        gone["spec"] = {}
        scene.guard.nodes.take_change("MODIFIED", gone)
        assert [one.cause for one in await scene.look()] == ["pool_taint_gone"]
        assert scene.court.fenced == [{OTHER}]

    asyncio.run(play())


def test_where_no_rules_are_installed_a_stranger_is_left_alone() -> None:
    async def play() -> None:
        court, hands = Court(), Hands()
        guard = Guard(PLACE, hands, gpu_resource="nvidia.com/gpu")
        guard.nodes.take_list([_node("n1")])
        guard.jobs.take_list([_pod("x")])
        assert await guard.look(court) == ()

    asyncio.run(play())


def test_a_defect_in_one_look_does_not_end_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        scene = Scene()
        seats = scene.court.seats
        monkeypatch.setattr(scene.court, "seats", lambda: 1 / 0)
        with capture_logs() as logs:
            running = asyncio.create_task(scene.guard.run(scene.court))
            await _until(lambda: any(one["event"] == "guard_look_failed" for one in logs))
            monkeypatch.setattr(scene.court, "seats", seats)
            scene.guard.nodes.take_change("MODIFIED", _node("n2", **{f"{_LABEL}region": "other"}))
            await _until(lambda: bool(scene.court.fenced))
            running.cancel()

    asyncio.run(play())


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)
