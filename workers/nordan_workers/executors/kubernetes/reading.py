"""Where a rank stands: its pod as the watch saw it last, its node, its agent's word, put together and noted."""

from __future__ import annotations

from dataclasses import dataclass

from nordan_workers.executors.base import Address, AttemptStatus, RankState, RankStatus
from nordan_workers.executors.kubernetes import records
from nordan_workers.executors.kubernetes.endings import RankFacts, end_of
from nordan_workers.executors.kubernetes.pods import Sighting, Stage
from nordan_workers.executors.kubernetes.seats import Attempt, Now, Seat
from nordan_workers.executors.kubernetes.site import BOUND_SLACK_S, Site
from nordan_workers.executors.kubernetes.status import Outcome, report_of
from nordan_workers.shim.records import read


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads attempts of one site; asks nobody, so it is as fast as memory."""

    site: Site

    def attempt(self, attempt: Attempt) -> AttemptStatus:
        """Return where an attempt stands, and note what is seen for the first time."""
        if attempt.final is not None:
            return attempt.final
        now = Now.of(self.site.clock)
        with attempt.lock:
            ranks = tuple(self._rank(attempt, seat, now) for seat in attempt.seats)
            status = AttemptStatus(attempt.id, ranks, address=self._address(attempt), observed_at_s=now.at_s)
            if status.is_over:
                attempt.final = status
        return status

    def is_node_away(self, seat: Seat) -> bool:
        """Tell whether the node of a rank's pod is not heard of, or is no node any more."""
        sighting = self.site.sighting(seat)
        node = sighting.view.node if sighting is not None else ""
        if not node and seat.created is not None and (seat.is_bound or seat.started is not None):
            node = seat.created.node
        if not node:
            return False
        self.site.nodes.expect(node)
        return self.site.nodes.is_away(node, self.site.patience.node_away_s)

    def may_run(self, seat: Seat) -> bool:
        """Tell whether a rank's program may have begun.

        It cannot without the gateway's word, which an agent has to ask for, and whose asking the gateway notes before
        it reads whether the attempt is to stop. So what was not asked for when a stop is on disk never begins.
        """
        sighting = self.site.sighting(seat)
        is_admitted = sighting is not None and sighting.view.is_admitted
        return seat.started is not None or is_admitted or (seat.folder / records.AGENT).exists()

    def _rank(self, attempt: Attempt, seat: Seat, now: Now) -> RankStatus:
        if (final := seat.final_status()) is not None:
            return final
        sighting = self.site.sighting(seat)
        if sighting is not None:
            seat.note_started(sighting, self.site.boot_id, now, self._launched_at_s(attempt))
        outcome = end_of(sighting.view if sighting is not None else None, self._facts(attempt, seat, now))
        started_at_s = seat.started_at_s(self.site.boot_id, now)
        if outcome is not None:
            ended_at_s = _ended_at(sighting, started_at_s, now)
            if outcome.duration_s is not None:
                started_at_s = max(self._launched_at_s(attempt), ended_at_s - outcome.duration_s)
            seat.note_end(outcome, started_at_s, ended_at_s)
            if (final := seat.final_status()) is not None:
                return final
        state = RankState.WAITING if started_at_s is None else RankState.RUNNING
        pod = seat.created.uid if seat.created is not None else None
        return RankStatus(seat.rank, state, started_at_s=started_at_s, pod=pod)

    def _facts(self, attempt: Attempt, seat: Seat, now: Now) -> RankFacts:
        is_away = self.is_node_away(seat)
        word = read(seat.folder / records.AGENT, records.AgentRecord) if is_away else None
        is_over_there = word is not None and word.state == records.AgentState.ENDED
        return RankFacts(
            rank=seat.rank,
            want=attempt.want(now.at_s),
            trouble=attempt.condemned,
            was_created=seat.created is not None,
            may_run=not is_away or self.may_run(seat),
            is_told=self.site.pods.is_listed.is_set(),
            is_node_away=is_away,
            is_past_bound=now.at_s >= attempt.deadline_s + BOUND_SLACK_S,
            is_over_there=is_over_there,
            word=_word(word, seat.rank) if is_over_there else None,
        )

    def _launched_at_s(self, attempt: Attempt) -> float:
        launched = attempt.launched
        return launched.at_s if launched is not None and launched.boot_id == self.site.boot_id else float("-inf")

    def _address(self, attempt: Attempt) -> Address | None:
        port = attempt.launched.port if attempt.launched is not None else None
        sighting = self.site.sighting(attempt.seats[0])
        if port is None or sighting is None or not sighting.view.ip:
            return None
        return Address(sighting.view.ip, port)


def _ended_at(sighting: Sighting | None, started_at_s: float | None, now: Now) -> float:
    """Return when a rank ended: as it was seen, or as the node's clock says where nobody was looking."""
    at_s = now.at_s
    if sighting is not None and sighting.stage is Stage.OVER:
        if sighting.is_live:
            at_s = sighting.since_s
        elif sighting.view.ended_at is not None:
            at_s = now.boot_time(sighting.view.ended_at)
    earliest_s = started_at_s if started_at_s is not None else float("-inf")
    return max(earliest_s, min(at_s, now.at_s))


def _word(word: records.AgentRecord | None, rank: int) -> Outcome | None:
    found = report_of(word.exit, rank) if word is not None else None
    return Outcome(*found) if found is not None else None
