from __future__ import annotations

from threading import Event

import pytest
from structlog.testing import capture_logs

from nordan_core.domain.errors import Unavailable
from nordan_core.domain.ids import RegionCode
from nordan_core.queue import MOST_GRANTS
from nordan_core.sealing import SealingKey, broker_label
from nordan_core.store.leadership import NotLeader
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
        self.messages = 0
        self.arrived = Event()

    def send(self, url: str, /, *grants: str) -> None:
        if url in self.down:
            raise Unavailable("down")
        self.sent.extend((url, grant) for grant in grants)
        self.messages += 1
        self.arrived.set()


KEY = SealingKey("the secret of a control plane in a test")


@pytest.fixture
def joined(cell: Cell) -> Cell:
    _join(cell, FR, "redis://fr")
    _join(cell, SE, "redis://se")
    return cell


def _join(cell: Cell, region: RegionCode, url: str, key: SealingKey = KEY) -> None:
    with cell.store.begin() as work:
        work.places.join(
            region,
            credential_hash=f"of {region}",
            gateway_url="http://127.0.0.1:1",
            broker_sealed=key.seal(url, broker_label(region)),
            offers=("shared", "dedicated", "single"),
        )


def _relay(cell: Cell, fake: FakeBrokers, region: RegionCode = FR) -> RegionRelay:
    return RegionRelay(region, cell.store, KEY, fake.send)


def test_each_grant_is_sent_once_to_its_own_region(joined: Cell) -> None:
    joined.submit(2, policy={"residency": ["FR"]})
    joined.submit(policy={"process": ["SE"]})
    epoch, fake = lead(joined.store), FakeBrokers()
    a_cycle(joined).run(epoch)
    assert _relay(joined, fake).step(epoch) == POLL_S
    assert _relay(joined, fake).step(epoch) == POLL_S
    assert sorted(fake.sent) == [("redis://fr", grant) for grant, region in joined.grants() if region == FR]
    assert joined.rows("select distinct region from outbox") == [(SE,)]


def test_grants_of_one_moment_share_messages(joined: Cell) -> None:
    joined.submit(MOST_GRANTS + 1, policy={"residency": ["FR"]})
    epoch, fake = lead(joined.store), FakeBrokers()
    placed = a_cycle(joined).run(epoch).placed
    _relay(joined, fake).step(epoch)
    assert (len(set(fake.sent)), fake.messages) == (placed, -(-placed // MOST_GRANTS))
    assert placed > 1


def test_a_broker_that_is_down_is_asked_again_with_growing_waits(joined: Cell) -> None:
    joined.submit(policy={"residency": ["FR"]})
    epoch, fake = lead(joined.store), FakeBrokers()
    a_cycle(joined).run(epoch)
    relay, fake.down = _relay(joined, fake), {"redis://fr"}
    assert relay.step(epoch) == BACKOFF_S
    joined.run("update outbox set not_before = now()")
    assert relay.step(epoch) == 2 * BACKOFF_S
    fake.down.clear()
    joined.run("update outbox set not_before = now()")
    assert relay.step(epoch) == POLL_S
    assert len(fake.sent) == 1
    assert joined.rows("select count(*) from outbox") == [(0,)]


def test_a_deposed_leader_sends_nothing(joined: Cell) -> None:
    joined.submit()
    epoch, fake = lead(joined.store), FakeBrokers()
    a_cycle(joined).run(epoch)
    joined.run("update leader set until = now() - interval '1 s'")
    lead(joined.store)
    with pytest.raises(NotLeader):
        _relay(joined, fake).step(epoch)
    assert fake.sent == []


def test_a_dead_broker_delays_no_other_region(joined: Cell) -> None:
    joined.submit(policy={"residency": ["FR"]})
    joined.submit(policy={"process": ["SE"]})
    crew, fake = Crew(), FakeBrokers()
    leader = Leader(joined.store, joined.clock, 60.0)
    leader.keep()
    epoch = leader.epoch()
    assert epoch is not None
    a_cycle(joined).run(epoch)
    fake.down = {"redis://fr"}
    relay = Relay(joined.store, KEY, leader, start=crew.start, stopping=crew.stopping, send=fake.send)
    try:
        relay.step(epoch)
        assert fake.arrived.wait(30)
    finally:
        crew.stop(5)
    assert [url for url, _ in fake.sent] == ["redis://se"]
    assert not crew.failed.is_set()


def test_a_region_gets_nothing_before_it_joined_and_everything_after(cell: Cell) -> None:
    cell.submit(policy={"residency": ["FR"]})
    epoch, fake = lead(cell.store), FakeBrokers()
    a_cycle(cell).run(epoch)
    relay = _relay(cell, fake)
    assert relay.step(epoch) == POLL_S
    assert fake.sent == []
    _join(cell, FR, "redis://elsewhere")
    _join(cell, FR, "redis://fr")
    relay.step(epoch)
    assert [url for url, _ in fake.sent] == ["redis://fr"]


def test_relays_start_for_regions_that_joined_only(cell: Cell) -> None:
    cell.submit(policy={"residency": ["FR"]})
    leader = Leader(cell.store, cell.clock, 60.0)
    leader.keep()
    epoch = leader.epoch()
    assert epoch is not None
    a_cycle(cell).run(epoch)
    started: list[str] = []
    relay = Relay(cell.store, KEY, leader, start=lambda name, _: started.append(name), stopping=Event())
    relay.step(epoch)
    assert started == []
    _join(cell, FR, "redis://fr")
    relay.step(epoch)
    assert started == [f"relay-{FR}"]


def test_a_broker_sealed_with_another_key_is_reported_and_stops_no_relay(cell: Cell) -> None:
    _join(cell, FR, "redis://:password@fr", SealingKey("the secret of some other control plane"))
    cell.submit(policy={"residency": ["FR"]})
    epoch, fake = lead(cell.store), FakeBrokers()
    a_cycle(cell).run(epoch)
    with capture_logs() as told:
        assert _relay(cell, fake).step(epoch) == POLL_S
    assert fake.sent == []
    assert "broker_url_not_opened" in {one["event"] for one in told}
    assert "password" not in str(told)
