"""The real supervisor and the real local executor against a control plane that keeps books."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from support.attempts import launch_order, until
from support.supervisors import RegionUnderTest, region_under_test


@pytest.fixture
def region() -> Iterator[RegionUnderTest]:
    with region_under_test() as region:
        region.start()
        yield region


def test_a_job_runs_and_its_end_is_told_and_everything_is_removed(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(["true"]))
    region.ends(order)
    final = region.api.final(order)
    assert final is not None
    assert (final.result, final.reason) == (AttemptResult.SUCCEEDED, None)
    assert [(one.rank, one.exit_code) for one in final.ranks] == [(0, 0)]
    until(lambda: region.is_forgotten(order), "the attempt is forgotten")
    assert (region.folder / "logs" / order.attempt_id / "ended").exists()


def test_a_running_job_is_told_as_running(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]))
    grant = region.api.of(order)
    until(lambda: any(one.state is AttemptState.RUNNING for one in grant.reports), "it runs")
    region.api.stop(order, grace_s=1)
    region.ends(order)
    assert [one.state for one in grant.reports][-2:] == [AttemptState.STOPPING, AttemptState.ENDED]
    assert grant.final is not None
    assert (grant.final.result, grant.final.reason) == (AttemptResult.CANCELLED, Reason.CANCELLED_BY_USER)
