from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import pytest

from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import RegionCode
from nordan_core.store.leadership import NotLeader
from nordan_scheduler.brokers import Brokers
from nordan_scheduler.leader import Leader
from nordan_scheduler.loops import Crew
from nordan_scheduler.relay import BACKOFF_S, POLL_S, RegionRelay, Relay
from support.cell import FR, SE, Cell, lead
from support.scheduling import a_cycle


class FakeBrokers:
    """Remembers what was sent; brokers in `down` do not answer."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.down: set[str] = set()
        self.arrived = Event()

    def send(self, url: str, grant: str) -> None:
        if url in self.down:
            raise Unavailable("down")
        self.sent.append((url, grant))
        self.arrived.set()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "brokers.json"
    path.write_text(json.dumps({FR: "redis://fr", SE: "redis://se"}))
    return path


def _relay(cell: Cell, book: Path, fake: FakeBrokers, region: RegionCode = FR) -> RegionRelay:
    return RegionRelay(region, cell.store, Brokers(book), fake.send)


def test_each_grant_is_sent_once_to_its_own_region(cell: Cell, book: Path) -> None:
    cell.submit(2, policy={"residency": ["FR"]})
    cell.submit(policy={"process": ["SE"]})
    epoch, fake = lead(cell.store), FakeBrokers()
    a_cycle(cell).run(epoch)
    assert _relay(cell, book, fake).step(epoch) == POLL_S
    assert _relay(cell, book, fake).step(epoch) == POLL_S
    assert sorted(fake.sent) == [("redis://fr", grant) for grant, region in cell.grants() if region == FR]
    assert cell.rows("select distinct region from outbox") == [(SE,)]


def test_a_broker_that_is_down_is_asked_again_with_growing_waits(cell: Cell, book: Path) -> None:
    cell.submit(policy={"residency": ["FR"]})
    epoch, fake = lead(cell.store), FakeBrokers()
    a_cycle(cell).run(epoch)
    relay, fake.down = _relay(cell, book, fake), {"redis://fr"}
    assert relay.step(epoch) == BACKOFF_S
    cell.run("update outbox set not_before = now()")
    assert relay.step(epoch) == 2 * BACKOFF_S
    fake.down.clear()
    cell.run("update outbox set not_before = now()")
    assert relay.step(epoch) == POLL_S
    assert len(fake.sent) == 1
    assert cell.rows("select count(*) from outbox") == [(0,)]


def test_a_deposed_leader_sends_nothing(cell: Cell, book: Path) -> None:
    cell.submit()
    epoch, fake = lead(cell.store), FakeBrokers()
    a_cycle(cell).run(epoch)
    cell.run("update leader set until = now() - interval '1 s'")
    lead(cell.store)
    with pytest.raises(NotLeader):
        _relay(cell, book, fake).step(epoch)
    assert fake.sent == []


def test_a_dead_broker_delays_no_other_region(cell: Cell, book: Path) -> None:
    cell.submit(policy={"residency": ["FR"]})
    cell.submit(policy={"process": ["SE"]})
    crew, fake = Crew(), FakeBrokers()
    leader = Leader(cell.store, cell.clock, 60.0)
    leader.keep()
    epoch = leader.epoch()
    assert epoch is not None
    a_cycle(cell).run(epoch)
    fake.down = {"redis://fr"}
    relay = Relay(cell.store, Brokers(book), leader, start=crew.start, stopping=crew.stopping, send=fake.send)
    try:
        relay.step(epoch)
        assert fake.arrived.wait(30)
    finally:
        crew.stop(5)
    assert [url for url, _ in fake.sent] == ["redis://se"]
    assert not crew.failed.is_set()


def test_brokers_of_regions_that_join_later_are_found(tmp_path: Path) -> None:
    path = tmp_path / "brokers.json"
    brokers = Brokers(path)
    assert brokers.url(FR) is None
    path.write_text(json.dumps({FR: "redis://fr"}))
    assert brokers.url(FR) == "redis://fr"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({FR: "redis://rf", SE: "redis://se"}))
    fresh.replace(path)
    assert brokers.url(FR) == "redis://rf"
    assert brokers.regions() == {FR, SE}
