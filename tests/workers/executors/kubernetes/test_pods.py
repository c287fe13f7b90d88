"""What is remembered of pods and nodes: an answer before the watch, a gone pod until it is forgotten, a silent node."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.clock import ManualClock
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.kubernetes.pods import Nodes, Pods, Sighting, Stage

ATTEMPT = AttemptId("att_01kbc0000000000000000000zz")
OURS = {"nordan.eu/attempt": ATTEMPT, "nordan.eu/rank": "0", "nordan.eu/managed-by": "supervisor"}


def pod(
    name: str = "p", uid: str = "1", phase: str = "Pending", labels: dict[str, str] | None = None
) -> dict[str, Any]:
    metadata = {"name": name, "uid": uid, "labels": OURS if labels is None else labels}
    return {"metadata": metadata, "status": {"phase": phase}}


def node(name: str, ready: str = "True", **resources: str) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": resources}
    return {"metadata": {"name": name}, "status": status}


class Told:
    """Pods under a clock that a test moves, and who was told of what."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.heard: list[AttemptId] = []
        self.pods = Pods(self.clock.monotonic, self.heard.append)
        self.nodes = Nodes(self.clock.monotonic)

    def seen(self, name: str = "p") -> Sighting:
        found = self.pods.get(name)
        assert found is not None
        return found


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_change_of_a_stage_that_was_seen_coming_has_its_moment(told: Told) -> None:
    told.pods.take_change("ADDED", pod())
    told.clock.advance(5.0)
    told.pods.take_change("MODIFIED", pod(phase="Running"))
    assert (told.seen().stage, told.seen().is_live) == (Stage.RUNNING, True)
    moment_s = told.seen().since_s
    told.clock.advance(5.0)
    told.pods.take_change("MODIFIED", pod(phase="Running"))
    assert told.seen().since_s == moment_s


def test_a_stage_that_was_found_has_none(told: Told) -> None:
    told.pods.begin_list()
    told.pods.take_list([pod(phase="Running")])
    assert not told.seen().is_live


def test_a_pod_that_was_just_made_is_known_before_the_watch_tells(told: Told) -> None:
    told.pods.note(pod())
    assert told.seen().stage is Stage.WAITING


def test_an_answer_that_comes_after_the_watch_changes_nothing(told: Told) -> None:
    told.pods.take_change("MODIFIED", pod(phase="Running"))
    told.pods.note(pod(phase="Pending"))
    assert told.seen().stage is Stage.RUNNING


def test_a_pod_that_is_missing_in_a_new_list_is_gone(told: Told) -> None:
    told.pods.take_change("ADDED", pod())
    told.clock.advance(1.0)
    told.pods.begin_list()
    told.pods.take_list([])
    assert told.seen().view.is_gone
    assert told.heard == [ATTEMPT, ATTEMPT]


def test_a_pod_that_was_made_while_the_list_was_taken_is_not_gone(told: Told) -> None:
    told.pods.begin_list()
    told.clock.advance(0.1)
    told.pods.note(pod())
    told.pods.take_list([])
    assert not told.seen().view.is_gone


def test_a_deleted_pod_is_remembered_in_its_last_state_until_it_is_dropped(told: Told) -> None:
    told.pods.take_change("ADDED", pod())
    told.pods.take_change("DELETED", pod(phase="Succeeded"))
    assert told.seen().view.is_gone
    assert told.seen().view.outcome is not None
    told.pods.drop("p")
    assert told.pods.get("p") is None


def test_the_deletion_of_an_earlier_pod_of_the_same_name_does_not_touch_the_present_one(told: Told) -> None:
    told.pods.take_change("ADDED", pod(uid="2"))
    told.pods.take_change("DELETED", pod(uid="1"))
    told.pods.note_gone("p", "1")
    assert not told.seen().view.is_gone


def test_a_pod_that_is_there_is_not_dropped(told: Told) -> None:
    told.pods.take_change("ADDED", pod())
    told.pods.drop("p")
    told.pods.drop_gone(lambda _: False)
    assert told.pods.get("p") is not None


def test_a_strangers_pod_is_known_and_nobody_is_told(told: Told) -> None:
    told.pods.take_change("ADDED", pod(labels={}))
    assert [view.name for view in told.pods.all()] == ["p"]
    assert told.heard == []


def test_a_node_is_away_once_it_was_not_ready_for_long(told: Told) -> None:
    told.nodes.take_list([node("a"), node("b", "Unknown")])
    assert not told.nodes.is_away("b", 10.0)
    told.clock.advance(10.0)
    assert told.nodes.is_away("b", 10.0)
    assert not told.nodes.is_away("a", 10.0)


def test_a_node_that_comes_back_begins_anew(told: Told) -> None:
    told.nodes.take_list([node("a", "Unknown")])
    told.clock.advance(9.0)
    told.nodes.take_change("MODIFIED", node("a"))
    told.nodes.take_change("MODIFIED", node("a", "False"))
    told.clock.advance(9.0)
    assert not told.nodes.is_away("a", 10.0)


@pytest.mark.parametrize("how", ["deleted", "missing in a new list", "never there"])
def test_a_node_that_does_not_exist_is_away_too(told: Told, how: str) -> None:
    told.nodes.take_list([node("a")] if how != "never there" else [])
    if how == "deleted":
        told.nodes.take_change("DELETED", node("a"))
    elif how == "missing in a new list":
        told.nodes.take_list([])
    told.nodes.expect("a")
    told.clock.advance(10.0)
    assert told.nodes.is_away("a", 10.0)


def test_without_a_list_no_node_is_called_away(told: Told) -> None:
    told.nodes.expect("a")
    told.clock.advance(100.0)
    assert not told.nodes.is_away("a", 10.0)


def test_a_node_tells_whether_it_offers_gpus(told: Told) -> None:
    told.nodes.take_list([node("a", **{"nvidia.com/gpu": "8"}), node("b", **{"nvidia.com/gpu": "0"})])
    assert [told.nodes.offers(name, "nvidia.com/gpu") for name in ("a", "b", "c")] == [True, False, False]
