from __future__ import annotations

from threading import Thread

import pytest
from sqlalchemy import text

from nordan_core.store.leadership import NotLeader
from nordan_core.store.unit_of_work import Store
from support.cell import Cell


def _campaign(store: Store, holder: str) -> int | None:
    with store.begin() as work:
        return work.leadership.campaign(holder, 60.0)


def _expire(cell: Cell) -> None:
    cell.run("update leader set until = now() - interval '1 s'")


def test_one_leads_and_the_other_stands_by(cell: Cell) -> None:
    assert _campaign(cell.store, "one") == 1
    assert _campaign(cell.store, "two") is None


def test_a_lease_that_ran_out_goes_to_the_next_under_a_higher_epoch(cell: Cell) -> None:
    _campaign(cell.store, "one")
    _expire(cell)
    assert _campaign(cell.store, "two") == 2
    with cell.store.begin() as work, pytest.raises(NotLeader):
        work.leadership.renew("one", 1, 60.0)


def test_a_leader_whose_lease_ran_out_goes_on_while_nobody_took_it(cell: Cell) -> None:
    _campaign(cell.store, "one")
    _expire(cell)
    with cell.store.begin() as work:
        work.leadership.assert_leader(1)
        work.leadership.renew("one", 1, 60.0)
    assert _campaign(cell.store, "two") is None


def test_who_resigns_hands_over_at_once(cell: Cell) -> None:
    _campaign(cell.store, "one")
    with cell.store.begin() as work:
        work.leadership.resign(1)
    assert _campaign(cell.store, "two") == 2
    with cell.store.begin() as work:
        work.leadership.resign(1)
    assert _campaign(cell.store, "three") is None


def test_a_transaction_of_the_leader_holds_off_a_takeover_but_not_a_renewal(cell: Cell) -> None:
    _campaign(cell.store, "one")
    _expire(cell)
    with cell.store.begin() as work:
        work.leadership.assert_leader(1)
        assert _campaign(cell.store, "two") is None
        with cell.store.begin() as other:
            other.leadership.renew("one", 1, 60.0)
    _expire(cell)
    assert _campaign(cell.store, "two") == 2


def test_a_transaction_that_begins_during_a_takeover_finds_the_new_epoch(cell: Cell) -> None:
    _campaign(cell.store, "one")
    _expire(cell)
    found: list[object] = []

    def assert_late() -> None:
        try:
            with cell.store.begin() as late:
                late.leadership.assert_leader(1)
        except NotLeader as error:
            found.append(error.current)

    with cell.store.begin() as work:
        assert work.leadership.campaign("two", 60.0) == 2
        thread = Thread(target=assert_late)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it waits for the takeover"
    thread.join(5)
    assert found == [2]


def test_a_session_that_sits_in_a_transaction_is_ended_so_that_the_next_may_lead(cell: Cell) -> None:
    _campaign(cell.store, "one")
    _expire(cell)
    with cell.engine.connect() as stopped:
        stopped.execute(text("set idle_in_transaction_session_timeout = 100"))
        stopped.commit()
        stopped.execute(text("select epoch from leader for key share"))
        assert _campaign(cell.store, "two") is None
        cell.run("select pg_sleep(0.3)")
        assert _campaign(cell.store, "two") == 2
        stopped.invalidate()
