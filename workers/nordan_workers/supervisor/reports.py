"""What the control plane is told of an attempt: facts in, message out. Called by the loop; looks at nothing itself."""

from __future__ import annotations

from collections.abc import Iterable

from nordan_core.domain.states import AttemptState
from nordan_core.wire import AttemptReport, LaunchOrder, OutputReport
from nordan_workers.executors.base import AttemptStatus
from nordan_workers.supervisor.attempts import Ending

MAX_MESSAGE = 500


def progress_report(
    order: LaunchOrder, state: AttemptState, seq: int, status: AttemptStatus | None, *, is_ready: bool
) -> AttemptReport:
    """Return the report of an attempt that is not over."""
    return AttemptReport(
        attempt_id=order.attempt_id,
        fence=order.fence,
        seq=seq,
        state=state,
        running_s=status.running_s if status else 0.0,
        energy_wh=_energy(status),
        is_ready=is_ready,
    )


def final_report(
    order: LaunchOrder, ending: Ending, seq: int, status: AttemptStatus | None, outputs: Iterable[OutputReport] = ()
) -> AttemptReport:
    """Return the report of an end, with each rank's exit and the outputs that are in the store."""
    ranks = status.ranks if status else ()
    return AttemptReport(
        attempt_id=order.attempt_id,
        fence=order.fence,
        seq=seq,
        state=AttemptState.ENDED,
        result=ending.result,
        reason=ending.reason,
        message=ending.message[:MAX_MESSAGE],
        ranks=tuple(rank.exit for rank in ranks if rank.exit is not None),
        first_failed=ending.first_failed,
        running_s=status.running_s if status else 0.0,
        energy_wh=_energy(status),
        outputs=tuple(outputs),
    )


def _energy(status: AttemptStatus | None) -> float | None:
    """Return what the GPUs measured; a counter that was reset in between tells nothing."""
    measured = status.energy_wh if status else None
    return measured if measured is not None and measured >= 0 else None
