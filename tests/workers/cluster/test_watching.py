"""When something is told about the nodes, and what."""

from __future__ import annotations

from typing import Any, cast

import pytest

from nordan_core.clock import ManualClock
from nordan_core.wire import NodesMessage
from nordan_workers.cluster.watching import AWAY_S, SPACING_S, TELL_S, NodeWatch
from nordan_workers.executors.kubernetes.client import Cluster
from support.cluster_objects import SCOPE, a_container, a_node, a_pod, our_pod

Json = dict[str, Any]
LOST = NodesMessage(is_current=False)


class FakeCluster:
    """Answers what it is asked for from a list of nodes."""

    def __init__(self) -> None:
        self.nodes: list[Json] = []
        self.asked: list[dict[str, str]] = []

    def get(self, _path: str, **params: str) -> Json:
        self.asked.append(params)
        return {"items": self.nodes, "metadata": {"resourceVersion": "100"}}


class Story:
    """A watch of nodes, and a control plane that is told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cluster = FakeCluster()
        # cast: only `get` is called here; its own tests hold the real one to the API server.
        self.watch = NodeWatch(cast("Cluster", self.cluster), SCOPE, self.clock)
        [self.nodes], [self.jobs] = self.watch.audience.nodes, self.watch.audience.pods
        self.changes = 0
        self.watch._changed = self._count

    def list_all(self, *nodes: Json) -> None:
        self.nodes.take_list(list(nodes or (a_node(),)))
        self.jobs.take_list([])
        self.watch.take_pods("others", [])

    def tell(self, *, arrives: bool = True) -> NodesMessage | None:
        """Ask for news as the sync does."""
        now_s = self.clock.monotonic()
        message = self.watch.news(now_s)
        if message is not None:
            self.watch.was_not_told()
            if arrives:
                self.watch.was_told(message, now_s)
        return message

    def told(self, *, after_s: float = SPACING_S) -> dict[str, str]:
        """Let time pass, ask for news, and return states by name; nothing where there are none."""
        self.clock.advance(after_s)
        message = self.tell()
        if message is not None:
            self.changes = 0
        return {} if message is None else {one.name: one.state.value for one in message.nodes}

    def _count(self) -> None:
        self.changes += 1


@pytest.fixture
def story() -> Story:
    return Story()


def test_nothing_is_told_before_everything_was_listed(story: Story) -> None:
    """Half a picture would show nodes as free that are not."""
    story.nodes.take_list([a_node()])
    story.jobs.take_list([])
    assert story.tell() is None
    story.watch.take_pods("others", [a_pod("p", "n1", a_container(3))])
    message = story.tell()
    assert message is not None
    assert [one.foreign.gpus for one in message.nodes] == [3]


def test_who_may_not_see_others_pods_does_without_them(story: Story) -> None:
    story.nodes.take_list([a_node()])
    story.jobs.take_list([])
    story.watch.others.is_refused = True
    assert story.tell() is not None


def test_a_change_is_told_at_once_and_everything_from_time_to_time(story: Story) -> None:
    story.list_all()
    assert story.told() == {"n1": "ready"}
    assert story.told(after_s=5) == {}
    story.nodes.take_change("MODIFIED", a_node(spec={"unschedulable": True}))
    assert story.changes == 1
    assert story.told() == {"n1": "cordoned"}
    story.watch.probe(is_net=False)
    assert story.told(after_s=TELL_S - 1) == {}
    assert story.told(after_s=1) == {"n1": "cordoned"}


def test_what_comes_close_together_is_told_together(story: Story) -> None:
    """And wakes the sync once."""
    story.list_all()
    assert story.told() == {"n1": "ready"}
    for number in range(2, 5):
        story.nodes.take_change("ADDED", a_node(f"n{number}"))
    assert story.changes == 1
    assert story.told(after_s=SPACING_S / 2) == {}
    assert set(story.told(after_s=SPACING_S / 2)) == {"n1", "n2", "n3", "n4"}


def test_a_node_that_was_deleted_or_is_missing_in_a_list_is_told_of_no_more(story: Story) -> None:
    story.list_all(a_node("n1"), a_node("n2"), a_node("n3"))
    assert set(story.told()) == {"n1", "n2", "n3"}
    story.nodes.take_change("DELETED", a_node("n2"))
    assert set(story.told()) == {"n1", "n3"}
    story.nodes.take_list([a_node("n3")])
    assert set(story.told()) == {"n3"}


def test_what_changes_and_changes_back_is_no_news(story: Story) -> None:
    story.list_all()
    assert story.told() == {"n1": "ready"}
    story.nodes.take_change("MODIFIED", a_node(spec={"unschedulable": True}))
    story.nodes.take_change("MODIFIED", a_node())
    assert story.told() == {}


def test_our_own_pods_are_no_news_and_foreign_ones_are(story: Story) -> None:
    story.list_all()
    assert story.told() == {"n1": "ready"}
    story.jobs.take_change("ADDED", our_pod())
    assert story.told() == {}
    story.watch.take_pod("others", "ADDED", a_pod())
    assert story.told() == {"n1": "ready"}
    story.watch.take_pod("others", "DELETED", a_pod())
    assert story.told() == {"n1": "ready"}


def test_a_report_that_did_not_arrive_is_sent_again(story: Story) -> None:
    story.list_all()
    assert story.tell(arrives=False) is not None
    assert story.tell() is not None
    assert story.tell() is None


def test_an_api_server_that_is_not_heard_is_told_of_and_so_is_its_return(story: Story) -> None:
    story.list_all()
    assert story.told() == {"n1": "ready"}
    story.clock.advance(AWAY_S + 1)
    assert story.tell() == LOST
    story.clock.advance(1)
    assert story.tell() is None
    story.clock.advance(TELL_S)
    assert story.tell() == LOST
    story.watch.probe(is_net=False)
    assert story.told(after_s=TELL_S) == {"n1": "ready"}


def test_the_net_catches_what_the_watch_did_not_tell_and_counts_it(story: Story) -> None:
    story.list_all(a_node("n1", version=5), a_node("n2", version=5))
    assert set(story.told()) == {"n1", "n2"}
    story.cluster.nodes = [a_node("n1", version=50, ready="Unknown")]
    story.watch.probe(is_net=True)
    assert story.told() == {"n1": "down"}
    story.watch.probe(is_net=True)
    assert story.watch.caught == 1
    assert story.cluster.asked[-1] == {"labelSelector": "nordan.node-restriction.kubernetes.io/pool"}
