"""One attempt as the supervisor holds it in memory. Only the loop's thread touches it; `attempts` decides over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptState
from nordan_core.wire import AttemptReport, LaunchOrder
from nordan_workers.executors.base import AttemptStatus, WorkFolders
from nordan_workers.supervisor.attempts import Ending, Facts, shown_state
from nordan_workers.supervisor.outputs import Collected
from nordan_workers.supervisor.records import Phase, Record, Stopping
from nordan_workers.supervisor.reports import progress_report


@dataclass(slots=True)
class Held:
    """An attempt's record, and what need not survive this process."""

    record: Record
    order: LaunchOrder
    deadline_s: float
    seq: int
    """The number that the last report had."""
    folders: WorkFolders | None = None
    status: AttemptStatus | None = None
    wish: Stopping | None = None
    failure: Ending | None = None
    collected: Collected | None = None
    is_busy: bool = False
    is_launched: bool = False
    is_disowned: bool = False
    is_settled: bool = False
    is_ready: bool = False
    is_publishing: bool = False
    is_probed: bool = False
    is_ending: bool = False
    """The final report has its number: a later one would make the control plane ignore it."""
    unwanted: Event = field(default_factory=Event)
    """Set when the background step may give up."""
    told: tuple[AttemptState, bool] | None = None
    """State and readiness that the control plane has taken."""
    final_told_at_s: float | None = None

    @property
    def attempt_id(self) -> AttemptId:
        """Return the attempt's id."""
        return AttemptId(self.order.attempt_id)

    @property
    def is_running(self) -> bool:
        """Tell whether the program runs, as far as is known."""
        has_begun = self.status is not None and self.status.is_started and not self.status.is_over
        return self.record.phase is Phase.LAUNCHED and has_begun

    @property
    def is_to_stop(self) -> bool:
        """Tell whether somebody wants it stopped, or it is stopping."""
        return self.wish is not None or self.record.stopping is not None or self.is_disowned

    def facts(self) -> Facts:
        """Return what a decision depends on."""
        return Facts(
            phase=self.record.phase,
            deadline_s=self.deadline_s,
            grace_s=self.order.grace_s,
            max_duration_s=self.order.max_duration_s,
            is_busy=self.is_busy,
            is_launched=self.is_launched,
            is_disowned=self.is_disowned,
            is_settled=self.is_settled,
            wish=self.wish,
            stopping=self.record.stopping,
            failure=self.failure,
            status=self.status,
            is_collected=self.collected is not None,
        )

    def want_stop(self, wish: Stopping) -> None:
        """Note that somebody wants the attempt stopped; a fence is never taken back by another wish."""
        if self.wish is None or self.wish.reason is not Reason.FENCED:
            self.wish = wish

    def next_seq(self) -> int:
        """Return the number of the next report."""
        self.seq += 1
        return self.seq

    @property
    def has_news(self) -> bool:
        """Tell whether there is something that the control plane was never told."""
        if self.record.final is not None:
            return self.final_told_at_s is None
        return not self.is_ending and (shown_state(self.facts()), self.is_ready) != self.told

    def news(self, now_s: float, resend_after_s: float) -> AttemptReport | None:
        """Return what the control plane has not been told yet, or an end that is due to be told again."""
        if self.record.final is not None:
            is_due = self.final_told_at_s is None or now_s >= self.final_told_at_s + resend_after_s
            return self.record.final if is_due and not self.is_settled else None
        if not self.has_news:
            return None
        state = shown_state(self.facts())
        return progress_report(self.order, state, self.next_seq(), self.status, is_ready=self.is_ready)

    def was_told(self, report: AttemptReport, now_s: float) -> None:
        """Note that the control plane has taken a report."""
        if report.state is AttemptState.ENDED:
            self.final_told_at_s = now_s
        else:
            self.told = (report.state, report.is_ready)
