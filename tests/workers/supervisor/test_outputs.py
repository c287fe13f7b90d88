"""What becomes of outputs that lie in an attempt's folder, or were refused before they came there."""

from __future__ import annotations

from pathlib import Path

from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_workers.gateway.pod_files import PodFiles
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.outputs import collect
from support.attempts import launch_order
from support.pods import PodAttempt


def test_outputs_that_a_pod_could_not_send_fail_the_attempt(tmp_path: Path) -> None:
    attempt = PodAttempt(tmp_path)
    rank = attempt.work.ranks[0]
    PodFiles(attempt.records, attempt.work.root, rank).refuse_outputs("a link leads out of the folder")
    collected = collect(launch_order(), RegionStore(tmp_path / "store"), rank.outputs)
    assert collected.failure is not None
    assert (collected.failure.result, collected.failure.reason) == (AttemptResult.FAILED, Reason.CONTAINER_EXIT)
    assert collected.failure.message == "an output cannot be kept: a link leads out of the folder"


def test_nothing_came_from_a_program_that_ran_elsewhere(tmp_path: Path) -> None:
    attempt, store = PodAttempt(tmp_path), RegionStore(tmp_path / "store")
    folder = attempt.work.ranks[0].outputs
    assert not folder.exists()
    assert collect(launch_order(), store, folder).outputs == ()
    promised = launch_order().model_copy(update={"outputs": ("model",)})
    failure = collect(promised, store, folder).failure
    assert failure is not None
    assert failure.message == "the program ended well but wrote no output 'model' into NORDAN_OUTPUT_DIR"
