"""A policy that is tightened between plan and apply, and between apply and redeem: real processes, tens of times."""

from __future__ import annotations

from pathlib import Path

from support.races import races

COUNT = 30


def test_nothing_commits_after_a_change_of_law_under_the_older_one(tmp_path: Path) -> None:
    """By the commit times of PostgreSQL; each order of events is seen, so that the silence means something."""
    with races(tmp_path) as found:
        for _ in range(COUNT):
            found.between_plan_and_apply()
            found.between_apply_and_redeem()
        assert found.violations() == []
        assert sum(found.tally.values()) == 2 * COUNT
        assert found.tally["plan and apply: dropped"] > 0
        assert found.tally["apply and redeem: granted"] > 0
        assert found.tally["apply and redeem: refused"] > 0
        assert found.acts() >= COUNT
