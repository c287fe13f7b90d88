"""What is said about the cluster's nodes goes up with a sync, and never keeps a renewal from coming down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nordan_core.clock import ManualClock
from nordan_core.domain.places import NodeState
from nordan_core.wire import AmountsMessage, NodeMessage, NodesMessage, SyncDown, SyncUp
from nordan_workers.api_client import ApiRefused
from nordan_workers.supervisor.sync import REFUSED_NODES_S
from support.syncing import syncer_over

MESSAGE = NodesMessage(nodes=(NodeMessage(pool="p", name="n1", state=NodeState.READY, offered=AmountsMessage(gpus=8)),))


@dataclass
class FakeNodes:
    """Has always the same to tell until it was told."""

    is_known: bool = False

    def start(self, changed: Callable[[], None]) -> None: ...

    def news(self, now_s: float) -> NodesMessage | None:
        return None if self.is_known else MESSAGE

    def was_told(self, message: NodesMessage, at_s: float) -> None:
        self.is_known = message == MESSAGE

    def was_not_told(self) -> None:
        self.is_known = False

    def close(self) -> None: ...


@dataclass
class FakeApi:
    """Stores what comes up; refuses nodes when told to."""

    refuses_nodes: bool = False
    ups: list[SyncUp] = field(default_factory=list)

    async def sync(self, up: SyncUp) -> SyncDown:
        self.ups.append(up)
        if self.refuses_nodes and up.nodes is not None:
            raise ApiRefused(422, "invalid", "nodes.0")
        return SyncDown(renewal="")


def test_nodes_go_up_until_they_were_told() -> None:
    api, clock = FakeApi(), ManualClock()
    syncer = syncer_over(api, clock, nodes=FakeNodes())
    for _ in range(2):
        asyncio.run(syncer.sync())
    assert [up.nodes for up in api.ups] == [MESSAGE, None]


def test_a_region_of_another_executor_says_nothing_of_nodes() -> None:
    api = FakeApi()
    asyncio.run(syncer_over(api, ManualClock()).sync())
    assert api.ups[0].nodes is None


def test_a_refused_report_about_nodes_rests_while_syncing_goes_on() -> None:
    api, nodes, clock = FakeApi(refuses_nodes=True), FakeNodes(), ManualClock()
    syncer = syncer_over(api, clock, nodes=nodes)
    with pytest.raises(ApiRefused):
        asyncio.run(syncer.sync())
    asyncio.run(syncer.sync())
    assert [up.nodes for up in api.ups] == [MESSAGE, None]
    clock.advance(REFUSED_NODES_S)
    api.refuses_nodes = False
    asyncio.run(syncer.sync())
    assert (api.ups[-1].nodes, nodes.is_known) == (MESSAGE, True)
