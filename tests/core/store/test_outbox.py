from __future__ import annotations

import pytest

from nordan_core.domain.ids import GrantId, RegionCode
from support.cell import FR, SE, Cell, lead
from support.scheduling import a_cycle


@pytest.fixture
def grants(cell: Cell) -> list[GrantId]:
    """Return three grants that nothing announces."""
    cell.submit(3)
    a_cycle(cell).run(lead(cell.store))
    cell.run("delete from outbox")
    return [grant for grant, _ in cell.grants()]


def _announce(cell: Cell, *nudges: tuple[GrantId, RegionCode]) -> None:
    with cell.store.begin() as work:
        work.outbox.add(nudges)


def _claim(cell: Cell, region: RegionCode = FR, hold_s: float = 30.0) -> list[GrantId]:
    with cell.store.begin() as work:
        return [one.grant for one in work.outbox.claim(region, limit=10, hold_s=hold_s)]


def test_a_claim_takes_one_region_only_and_hides_what_it_took(cell: Cell, grants: list[GrantId]) -> None:
    _announce(cell, (grants[0], FR), (grants[1], SE), (grants[2], FR))
    assert _claim(cell) == [grants[0], grants[2]]
    assert _claim(cell) == []
    assert _claim(cell, SE) == [grants[1]]


def test_what_was_claimed_and_not_sent_falls_due_again(cell: Cell, grants: list[GrantId]) -> None:
    _announce(cell, (grants[0], FR))
    assert _claim(cell, hold_s=0.0) == [grants[0]]
    assert _claim(cell) == [grants[0]]


def test_what_was_sent_is_gone(cell: Cell, grants: list[GrantId]) -> None:
    _announce(cell, (grants[0], FR))
    with cell.store.begin() as work:
        [claimed] = work.outbox.claim(FR, limit=10, hold_s=0.0)
        work.outbox.sent([claimed.id])
    assert _claim(cell) == []
    with cell.store.begin() as work:
        assert work.outbox.due_regions() == frozenset()


def test_two_claims_at_once_share_the_rows(cell: Cell, grants: list[GrantId]) -> None:
    _announce(cell, (grants[0], FR), (grants[1], FR))
    with cell.store.begin() as one:
        first = one.outbox.claim(FR, limit=1, hold_s=30.0)
        assert [nudge.grant for nudge in first] == [grants[0]]
        assert _claim(cell) == [grants[1]]


def test_a_row_that_commits_late_is_claimed_after_younger_ones(cell: Cell, grants: list[GrantId]) -> None:
    """A serial that was drawn early and committed late is behind no cursor."""
    with cell.store.begin() as late:
        late.outbox.add([(grants[0], FR)])
        _announce(cell, (grants[1], FR))
        assert _claim(cell) == [grants[1]]
    assert _claim(cell) == [grants[0]]
