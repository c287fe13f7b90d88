"""The supervisor dies by `kill -9` at each point around each step: the job still runs once, and ends once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nordan_core.domain.jobs import JobKind
from nordan_core.domain.states import AttemptResult
from nordan_core.wire import LaunchOrder
from nordan_workers.faults import POD_STEPS, POINTS
from support.attempts import launch_order, until
from support.supervisors import RegionUnderTest, open_python, region_under_test


@pytest.fixture
def region() -> Iterator[RegionUnderTest]:
    with region_under_test() as region:
        yield region


def counting_order(region: RegionUnderTest, ranks: int = 1) -> LaunchOrder:
    """Build an order whose every rank leaves a line when it starts."""
    starts = region.folder / "starts"
    starts.touch()
    starts.chmod(0o666)
    return launch_order(["sh", "-c", f"echo $NORDAN_NODE_RANK >> {starts}; sleep 0.3"], ranks=ranks)


#: Here jobs are processes; where they are pods, tests/kube/test_faults.py dies at the rest.
HERE = [point for point in POINTS if point.partition("_")[2] not in POD_STEPS]


@pytest.mark.parametrize("point", HERE)
def test_a_job_runs_once_and_ends_once_although_the_supervisor_dies(region: RegionUnderTest, point: str) -> None:
    order = counting_order(region, ranks=2)
    grant_id = region.api.grant(order)
    region.start(crash_at=point)
    region.nudge(grant_id)
    region.wait_crash()
    # The same environment again: a fault happens once.
    region.start(crash_at=point)
    if not region.record_files():
        # Nothing was on disk yet; the control plane's sweep sends another nudge.
        region.nudge(grant_id)
    region.ends(order)
    grant = region.api.of(order)
    assert sorted((region.folder / "starts").read_text().split()) == ["0", "1"]
    assert len(grant.redemptions) == 1
    assert len(grant.finals) == 1
    assert grant.final is not None
    assert grant.final.result is AttemptResult.SUCCEEDED
    assert [report.seq for report in grant.reports] == sorted({report.seq for report in grant.reports})
    until(lambda: region.is_forgotten(order), "nothing is left")


def test_a_running_job_is_adopted_and_its_end_is_told(region: RegionUnderTest) -> None:
    region.start()
    order = region.submit(launch_order(["sh", "-c", "sleep 1.5; exit 3"]))
    grant = region.api.of(order)
    until(lambda: any(report.state == "running" for report in grant.reports), "it runs")
    region.kill()
    region.start()
    region.ends(order)
    assert grant.final is not None
    assert (grant.final.result, grant.final.reason) == (AttemptResult.FAILED, "container_exit")
    assert grant.final.ranks[0].exit_code == 3
    assert grant.final.first_failed == 0


def test_a_job_that_ended_while_nobody_watched_is_told(region: RegionUnderTest) -> None:
    region.start()
    order = region.submit(launch_order(["sleep", "0.5"]))
    until(lambda: any(report.state == "running" for report in region.api.of(order).reports), "it runs")
    region.kill()
    until((region.folder / "attempts" / order.attempt_id / "rank-0" / "exit.json").exists, "it ended")
    region.start()
    region.ends(order)


def test_a_supervisor_keeps_its_id_over_restarts_and_a_second_one_is_refused(region: RegionUnderTest) -> None:
    region.start()
    until(lambda: len(region.api.supervisors) == 1, "the first sync")
    first, region.process = region.process, None
    region.start()
    assert region.process is not None
    assert region.process.wait(10) == 1
    assert "another supervisor already serves" in region.log.read_text()
    region.process = first
    region.kill()
    region.start()
    before = region.api.requests["/worker/v1/sync"]
    until(lambda: region.api.requests["/worker/v1/sync"] > before, "another sync")
    assert len(region.api.supervisors) == 1


def test_a_replica_stays_listed_over_a_restart_of_the_supervisor(region: RegionUnderTest) -> None:
    region.start()
    order = launch_order(["sh", "-c", f"exec {open_python()} -m http.server $NORDAN_PORT"], kind=JobKind.INFERENCE)
    region.submit(order)
    services = region.folder / "services.json"
    until(lambda: services.exists() and order.job_id in services.read_text(), "it is listed")
    listed = services.read_bytes()
    region.kill()
    region.start()
    before = region.api.requests["/worker/v1/sync"]
    until(lambda: region.api.requests["/worker/v1/sync"] > before + 1, "two syncs")
    assert services.read_bytes() == listed


def test_an_orderly_stop_leaves_work_running_and_tells_what_is_over(region: RegionUnderTest) -> None:
    region.start()
    lasting = region.submit(launch_order(["sleep", "30"]))
    until(lambda: any(report.state == "running" for report in region.api.of(lasting).reports), "it runs")
    region.stop()
    assert region.process is not None
    assert region.process.returncode == 0
    assert not (region.folder / "attempts" / lasting.attempt_id / "rank-0" / "exit.json").exists()
    region.start()
    region.api.stop(lasting)
    region.ends(lasting)
