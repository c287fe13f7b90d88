"""The real supervisor and the real local executor against a control plane that keeps books."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.domain.jobs import JobKind
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, AttemptState
from nordan_core.identifiers import new_id
from nordan_core.proof.keys import SigningKey
from nordan_core.wire import InputOrder, LaunchOrder, ManifestMessage
from nordan_workers.store.region_store import RegionStore
from support.attempts import launch_order, until
from support.supervisors import RegionUnderTest, open_python, region_under_test

LASTING = ["sleep", "60"]
STUBBORN = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]


@pytest.fixture(scope="module")
def shared() -> Iterator[RegionUnderTest]:
    with region_under_test() as region:
        region.start()
        yield region


@pytest.fixture
def region(shared: RegionUnderTest) -> Iterator[RegionUnderTest]:
    """One supervisor serves all of these tests; each leaves nothing behind."""
    yield shared
    shared.settle()


def shell(script: str, **order: object) -> LaunchOrder:
    return launch_order(["sh", "-c", script]).model_copy(update=order)


def runs(region: RegionUnderTest, order: LaunchOrder) -> None:
    grant = region.api.of(order)
    until(lambda: any(one.state is AttemptState.RUNNING for one in grant.reports), "it runs")


def ending(region: RegionUnderTest, order: LaunchOrder) -> tuple[AttemptResult | None, Reason | None]:
    region.ends(order)
    final = region.api.final(order)
    assert final is not None
    return final.result, final.reason


def store_of(region: RegionUnderTest) -> RegionStore:
    return RegionStore(region.folder / "store")


def stored(region: RegionUnderTest, files: dict[str, bytes]) -> ManifestMessage:
    store = store_of(region)
    entries = [(path, store.put([data])) for path, data in files.items()]
    return ManifestMessage.of(Manifest.of(FileEntry(path, blob.digest, blob.size_bytes) for path, blob in entries))


def content(region: RegionUnderTest, manifest: ManifestMessage) -> dict[str, bytes]:
    return {one.path: store_of(region).path(one.digest).read_bytes() for one in manifest.files}


def log_of(region: RegionUnderTest, order: LaunchOrder) -> str:
    return (region.folder / "logs" / order.attempt_id / "rank-0.log").read_text()


def test_a_job_runs_and_its_end_is_told_and_everything_is_removed(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(["true"]))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    final = region.api.final(order)
    assert final is not None
    assert [(one.rank, one.exit_code) for one in final.ranks] == [(0, 0)]
    assert final.running_s > 0
    until(lambda: region.is_forgotten(order), "the attempt is forgotten")
    assert (region.folder / "logs" / order.attempt_id / "ended").exists()


def test_nudges_for_one_grant_redeem_it_once(region: RegionUnderTest) -> None:
    order = launch_order(["true"])
    grant_id = region.api.grant(order)
    for _ in range(5):
        region.nudge(grant_id)
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    assert len(region.api.of(order).redemptions) == 1


def test_nudges_for_grants_that_nobody_made_leave_nothing(region: RegionUnderTest) -> None:
    for _ in range(300):
        region.nudge(new_id("grt"))
    order = region.submit(launch_order(["true"]))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    until(lambda: region.is_forgotten(order), "no record is left")


def test_a_cancelled_job_gets_its_grace_and_is_told_as_stopping(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(STUBBORN))
    runs(region, order)
    region.api.stop(order, grace_s=1)
    assert ending(region, order) == (AttemptResult.CANCELLED, Reason.CANCELLED_BY_USER)
    assert [one.state for one in region.api.of(order).reports][-2:] == [AttemptState.STOPPING, AttemptState.ENDED]


def test_a_fenced_job_is_killed_without_grace_and_its_outputs_are_not_taken(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(["sh", "-c", "trap '' TERM; touch $NORDAN_OUTPUT_DIR/model; sleep 60"]))
    runs(region, order)
    region.api.stop(order, Reason.FENCED, grace_s=60)
    assert ending(region, order) == (AttemptResult.FENCED, Reason.FENCED)
    final = region.api.final(order)
    assert final is not None
    assert final.outputs == ()


def test_an_attempt_that_the_control_plane_does_not_know_is_stopped_without_a_report(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(LASTING))
    runs(region, order)
    region.api.unknown.add(order.attempt_id)
    until(lambda: region.is_forgotten(order), "it is gone")
    assert region.api.final(order) is None


def test_a_job_over_its_time_is_stopped(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(LASTING).model_copy(update={"max_duration_s": 0.5, "grace_s": 1.0}))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.MAX_DURATION)


def test_one_failing_rank_ends_the_gang_with_its_own_code(region: RegionUnderTest) -> None:
    order = launch_order(["sh", "-c", "test $NORDAN_NODE_RANK = 1 && exit 7; sleep 60"], ranks=3)
    region.submit(order)
    assert ending(region, order) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)
    final = region.api.final(order)
    assert final is not None
    assert "rank 1" in final.message
    assert "7" in final.message
    assert [one.rank for one in final.ranks] == [0, 1, 2]


def test_outputs_of_rank_zero_are_in_the_store_and_in_the_report(region: RegionUnderTest) -> None:
    script = "cd $NORDAN_OUTPUT_DIR; mkdir model; echo w > model/w; echo m > metrics; echo p > loose.pt; touch .hidden"
    order = region.submit(shell(script, outputs=("model",)))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    final = region.api.final(order)
    assert final is not None
    assert {one.name: content(region, one.manifest) for one in final.outputs} == {
        "model": {"w": b"w\n"},
        "metrics": {"metrics": b"m\n"},
        "other": {"loose.pt": b"p\n"},
    }


def test_a_report_that_is_refused_ends_its_own_job_and_keeps_no_other_from_being_told(region: RegionUnderTest) -> None:
    region.api.refuses_outputs = True
    refused = region.submit(shell("touch $NORDAN_OUTPUT_DIR/model"))
    others = [region.submit(launch_order(["true"])) for _ in range(3)]
    assert [ending(region, one) for one in others] == [(AttemptResult.SUCCEEDED, None)] * 3
    assert ending(region, refused) == (AttemptResult.FAILED, Reason.INTERNAL_ERROR)
    final = region.api.final(refused)
    assert final is not None
    assert "too_large" in final.message


def test_a_promised_output_that_was_not_written_is_a_failure(region: RegionUnderTest) -> None:
    order = region.submit(shell("true", outputs=("model",)))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)
    final = region.api.final(order)
    assert final is not None
    assert "'model'" in final.message


def test_an_output_that_leads_elsewhere_is_refused(region: RegionUnderTest) -> None:
    order = region.submit(shell("ln -s /etc/passwd $NORDAN_OUTPUT_DIR/model"))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)


def test_files_and_inputs_are_there_and_inputs_cannot_be_changed(region: RegionUnderTest) -> None:
    order = shell(
        "cat run.txt $NORDAN_INPUT_DIR/patients/a/b; echo x 2>/dev/null >> $NORDAN_INPUT_DIR/patients/a/b; echo done",
        files=stored(region, {"run.txt": b"file\n"}),
        inputs=(InputOrder(name="patients", artifact_id="art_x", manifest=stored(region, {"a/b": b"input\n"})),),
    )
    region.submit(order)
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    assert log_of(region, order) == "file\ninput\ndone\n"


def test_an_input_that_is_not_in_the_region_is_said_so(region: RegionUnderTest) -> None:
    missing = ManifestMessage.of(Manifest.of([FileEntry("a", "0" * 64, 1)]))
    order = region.submit(shell("true", inputs=(InputOrder(name="x", artifact_id="art_x", manifest=missing),)))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.DATA_NOT_IN_REGION)


def test_checkpoints_are_published_while_running_and_once_each(region: RegionUnderTest) -> None:
    script = (
        "cd $NORDAN_CHECKPOINT_DIR; echo 1 > .a; mv .a step-1; echo half > half.tmp; sleep 2.5;"
        "mkdir .b; echo 2 > .b/w; mv .b step-2; exit 1"
    )
    order = region.submit(shell(script))
    until(lambda: len(region.api.artifacts) == 1, "the first is published")
    assert region.api.final(order) is None
    assert ending(region, order) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)
    assert [(one.name, content(region, one.manifest)) for one in region.api.artifacts] == [
        ("step-1", {"step-1": b"1\n"}),
        ("step-2", {"step-2/w": b"2\n"}),
    ]


def test_a_checkpoint_is_not_lost_when_the_attempt_ends_while_the_control_plane_is_away(
    region: RegionUnderTest,
) -> None:
    order = region.submit(shell("sleep 1; echo 1 > $NORDAN_CHECKPOINT_DIR/step-1; exit 1"))
    runs(region, order)
    region.api.is_away = True
    until((region.folder / "attempts" / order.attempt_id / "rank-0" / "exit.json").exists, "it ended")
    tried = region.api.requests["/worker/v1/artifacts"]
    until(lambda: region.api.requests["/worker/v1/artifacts"] >= tried + 2, "publishing was tried again")
    # A supervisor that stops does not wait for it, and its successor goes on.
    region.stop()
    region.start()
    region.api.is_away = False
    assert ending(region, order) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)
    assert [one.name for one in region.api.artifacts] == ["step-1"]


def test_a_resumed_attempt_finds_the_checkpoint_and_does_not_publish_it_again(region: RegionUnderTest) -> None:
    checkpoint = stored(region, {"step-2/w": b"2\n"})
    order = region.submit(shell("cat $NORDAN_CHECKPOINT_DIR/step-2/w; sleep 1.5", resume_from=checkpoint))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    assert log_of(region, order) == "2\n"
    assert region.api.artifacts == []


def test_a_stale_fence_at_publishing_stops_the_attempt(region: RegionUnderTest) -> None:
    order = shell("echo 1 > $NORDAN_CHECKPOINT_DIR/step-1; sleep 60")
    region.api.stale.add(order.attempt_id)
    region.submit(order)
    until(lambda: region.api.requests["/worker/v1/artifacts"] == 1, "publishing was tried")
    until(lambda: region.is_forgotten(order), "it is gone")


def test_without_the_control_plane_the_attempt_ends_by_its_own_deadline(region: RegionUnderTest) -> None:
    region.api.renews = False
    order = region.submit(launch_order(LASTING).model_copy(update={"ttl_s": 3.0}))
    runs(region, order)
    region.api.is_away = True
    exit_file = region.folder / "attempts" / order.attempt_id / "rank-0" / "exit.json"
    until(exit_file.exists, "the shim stops it")
    assert json.loads(exit_file.read_text())["at_deadline"]
    region.api.is_away = False
    assert ending(region, order) == (AttemptResult.LOST, Reason.GRANT_EXPIRED)


def test_renewals_keep_an_attempt_beyond_its_first_life(region: RegionUnderTest) -> None:
    order = region.submit(shell("sleep 4").model_copy(update={"ttl_s": 3.0}))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("region", "de-fra-1"),
        ("fence", 6),
        ("pool", "other"),
        ("redemption_id", "0" * 32),
        ("nodes", ("other",)),
    ],
)
def test_a_grant_that_does_not_fit_its_order_starts_nothing(region: RegionUnderTest, claim: str, value: object) -> None:
    region.api.forge = {claim: value}
    order = region.submit(shell(f"touch {region.folder}/started"))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.INTERNAL_ERROR)
    assert not (region.folder / "work" / order.attempt_id).exists()


def test_a_renewal_that_answers_another_request_extends_nothing(region: RegionUnderTest) -> None:
    region.api.renews = False
    order = region.submit(launch_order(LASTING).model_copy(update={"ttl_s": 5.0}))
    runs(region, order)
    region.api.nonce, region.api.renews = "0" * 32, True
    assert ending(region, order) == (AttemptResult.LOST, Reason.GRANT_EXPIRED)


def test_an_answer_to_another_redemption_starts_nothing(region: RegionUnderTest) -> None:
    """As one would be that somebody on the way has kept and shows again after the grant ran out."""
    region.api.nonce = "0" * 32
    order = region.submit(shell(f"touch {region.folder}/started"))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.INTERNAL_ERROR)
    assert not (region.folder / "work" / order.attempt_id).exists()


def test_a_control_plane_whose_clock_is_another_keeps_attempts_running(region: RegionUnderTest) -> None:
    """Times are measured here, from when a request was sent; only the signed length of a life counts."""
    day = datetime.now(UTC) - timedelta(days=1)
    region.api.forge = {"issued_at": day, "expires_at": day + timedelta(seconds=3)}
    order = region.submit(shell("sleep 4").model_copy(update={"ttl_s": 3.0}))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)


def test_a_grant_by_another_key_starts_nothing(region: RegionUnderTest) -> None:
    region.api.key = SigningKey.create()
    order = region.submit(launch_order(["true"]))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.INTERNAL_ERROR)


def test_a_key_that_the_first_one_introduced_starts_jobs_and_those_of_before_run_on(region: RegionUnderTest) -> None:
    lasting = region.submit(shell("sleep 4").model_copy(update={"ttl_s": 3.0}))
    runs(region, lasting)
    region.api.ttl_s, before = 3, region.api.ttl_s
    region.api.change_key(until=datetime.now(UTC) + timedelta(days=1))
    order = region.submit(launch_order(["true"]))
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)
    # Longer than its first life: the new key's renewals reached it.
    assert ending(region, lasting) == (AttemptResult.SUCCEEDED, None)
    region.api.ttl_s = before
    assert "successions.json" in {one.name for one in region.folder.iterdir()}


def test_a_key_that_a_stranger_introduced_starts_nothing(region: RegionUnderTest) -> None:
    region.api.change_key(until=datetime.now(UTC) + timedelta(days=1), by=SigningKey.create())
    order = region.submit(launch_order(["true"]))
    assert ending(region, order) == (AttemptResult.FAILED, Reason.INTERNAL_ERROR)


def test_grants_wait_while_the_control_plane_is_away(region: RegionUnderTest) -> None:
    region.api.is_away = True
    order = region.submit(launch_order(["true"]))
    until(lambda: region.api.requests["/worker/v1/grants:redeem"] > 0, "it asks")
    region.api.is_away = False
    assert ending(region, order) == (AttemptResult.SUCCEEDED, None)


def test_a_replica_is_told_ready_once_it_answers_and_listed_for_the_gateway(region: RegionUnderTest) -> None:
    python = open_python()
    order = launch_order(["sh", "-c", f"exec {python} -m http.server $NORDAN_PORT"], kind=JobKind.INFERENCE)
    region.submit(order)
    grant = region.api.of(order)
    until(lambda: any(one.is_ready for one in grant.reports), "it is ready")
    services = region.folder / "services.json"
    [replica] = json.loads(services.read_text())["services"][order.job_id]
    assert httpx.get(f"http://127.0.0.1:{replica['port']}/", trust_env=False).status_code == 200
    region.api.stop(order, grace_s=1)
    region.ends(order)
    until(lambda: json.loads(services.read_text()) == {"services": {}}, "it is listed no more")


def test_fenced_objects_are_listed_for_the_gateway(region: RegionUnderTest) -> None:
    region.api.fenced_objects = ("manifest:b", "attempt:a")
    fences = region.folder / "fences.json"
    until(lambda: fences.exists() and "attempt:a" in fences.read_text(), "they are listed")
    assert json.loads(fences.read_text()) == {"objects": ["attempt:a", "manifest:b"]}


@pytest.mark.skipif(os.geteuid() == 0, reason="as root every organisation gets users of its own")
def test_without_root_a_second_organisation_is_refused(region: RegionUnderTest) -> None:
    first = region.submit(launch_order(["true"]))
    assert ending(region, first) == (AttemptResult.SUCCEEDED, None)
    second = region.submit(launch_order(["true"]).model_copy(update={"organisation_handle": "another"}))
    assert ending(region, second) == (AttemptResult.FAILED, Reason.REJECTED_BY_POLICY)


def test_the_logs_hold_ids_and_nothing_of_the_tenant(region: RegionUnderTest) -> None:
    script = (
        "echo canary; mkdir $NORDAN_OUTPUT_DIR/canary; touch $NORDAN_OUTPUT_DIR/canary/canary;"
        "ln -s /canary $NORDAN_CHECKPOINT_DIR/canary; sleep 1.2; exit 3"
    )
    order = shell(script, env={"CANARY": "canary"}, files=stored(region, {"canary.py": b"canary"}))
    region.submit(order)
    region.ends(order)
    assert "canary" not in region.log.read_text().lower()
    assert order.attempt_id in region.log.read_text()


def test_the_supervisors_folder_for_records_is_closed(region: RegionUnderTest) -> None:
    order = region.submit(launch_order(LASTING))
    runs(region, order)
    records = region.folder / "records"
    assert records.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in _files(records))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
