"""Turn grant ids into attempts: write a redemption id, redeem, check the grant, write the order, hand it over.

The redemption id is on disk before the control plane hears of it, so a successor asks with the same one and gets
the same answer. Grants are redeemed in batches: those that arrive while a request is under way form the next one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from nordan_core.clock import Clock
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.proof.errors import TokenError
from nordan_core.wire import LaunchOrder, RedeemAnswer, RedeemItem, RedeemOutcome, RedeemRequest, RedeemResponse
from nordan_workers.api_client import ApiRefused, CredentialRefused, WorkerApi
from nordan_workers.faults import Faults
from nordan_workers.joining import Joined
from nordan_workers.supervisor.attempts import Ending
from nordan_workers.supervisor.fleet import Fleet
from nordan_workers.supervisor.grants import Asked, GrantRejected, check_grant, lives_of
from nordan_workers.supervisor.records import Phase, Record, Records
from nordan_workers.supervisor.reports import final_report
from nordan_workers.trust import Trust

MAX_BATCH = 200
#: Grants that wait here at most; the sweep brings back what is dropped.
MAX_WAITING = 10_000
RETRY_S = 1.0
LONGEST_REST_S = 0.5


@dataclass(frozen=True, slots=True)
class Desk:
    """What redeeming needs."""

    api: WorkerApi
    records: Records
    joined: Joined
    trust: Trust
    clock: Clock
    faults: Faults
    boot_id: str
    is_single_tenant: bool
    """The executor cannot keep two organisations apart."""
    first_seq: int
    supervisor_id: str


class Redeemer:
    """Redeems what is offered, for as long as it runs."""

    def __init__(self, desk: Desk, fleet: Fleet) -> None:
        self._desk = desk
        self._fleet = fleet
        self._waiting: dict[str, Record | None] = {}
        self._offered = asyncio.Event()

    def offer(self, grant_id: str) -> None:
        """Take a grant id from a nudge; one that is known already, or over the limit, is dropped."""
        is_known = grant_id in self._waiting or self._fleet.holds_grant(grant_id)
        if not is_known and len(self._waiting) < MAX_WAITING:
            self._waiting[grant_id] = None
            self._offered.set()

    def resume(self, records: Iterable[Record]) -> None:
        """Take up what an earlier incarnation may have asked for."""
        for record in records:
            self._waiting[record.grant_id] = record
            self._offered.set()

    async def run(self) -> None:
        """Redeem until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            batch = dict(list(self._waiting.items())[:MAX_BATCH])
            began_s = self._desk.clock.monotonic()
            try:
                await self._redeem(batch)
                # As long as it took: where everybody is busy, what arrives meanwhile shares one request.
                await asyncio.sleep(min(self._desk.clock.monotonic() - began_s, LONGEST_REST_S))
            except (Unavailable, CredentialRefused, OSError) as error:
                structlog.get_logger().warning("redeem_delayed", grants=len(batch), error=type(error).__name__)
                await asyncio.sleep(RETRY_S)
            if self._waiting:
                self._offered.set()

    async def _redeem(self, batch: Mapping[str, Record | None]) -> None:
        # 1. The ids, on disk before anybody hears of them.
        records = self._written(batch)
        # 2. Ask; what the answer grants counts from this moment.
        sent_at_s = self._desk.clock.monotonic()
        self._desk.faults.at("before_redeem")
        items = tuple(RedeemItem(grant_id=one.grant_id, redemption_id=one.redemption_id) for one in records.values())
        asked = Asked(self._desk.joined.region, self._desk.supervisor_id, secrets.token_hex(16))
        request = RedeemRequest(supervisor_id=asked.supervisor_id, nonce=asked.nonce, items=items)
        try:
            response = await self._desk.api.redeem(request)
        except ApiRefused as error:
            structlog.get_logger().warning("redeem_refused", grants=len(batch), code=error.code)
            self._drop(records)
            return
        self._desk.faults.at("after_redeem")
        # 3. The orders, on disk before anything is done about them.
        self._desk.trust.learn(response.successions)
        lives = self._lives(response, asked)
        known = ((records[one.grant_id], one) for one in response.items if one.grant_id in records)
        answered = (self._answered(record, one, sent_at_s, lives) for record, one in known)
        kept = [record for record in answered if record is not None]
        self._desk.faults.at("before_answer")
        for record in kept:
            self._desk.records.save(record)
        self._desk.faults.at("after_answer")
        # One line for all of a kind: whoever can write to the broker can name grants without end.
        gone = Counter(one.code for one in response.items if one.outcome is RedeemOutcome.GONE)
        for code, count in gone.items():
            structlog.get_logger().info("grants_gone", code=code, count=count)
        # 4. Hand over, and let go of what was refused.
        for record in kept:
            self._fleet.add(record)
            self._waiting.pop(record.grant_id, None)
        self._drop(set(records) - {record.grant_id for record in kept})

    def _written(self, batch: Mapping[str, Record | None]) -> dict[str, Record]:
        asked = {one: known or Record(one, secrets.token_hex(16)) for one, known in batch.items()}
        self._desk.faults.at("before_write")
        others = (known for one, known in self._waiting.items() if known is not None and one not in asked)
        self._desk.records.save_asked([*asked.values(), *others])
        self._desk.faults.at("after_write")
        self._waiting.update(asked)
        return asked

    def _lives(self, response: RedeemResponse, asked: Asked) -> Mapping[tuple[str, int], int]:
        """Return how long each attempt may live; an answer that is not to this request gives nothing any life."""
        try:
            return lives_of(response.renewal, asked, self._desk.trust.live())
        except (TokenError, GrantRejected) as error:
            structlog.get_logger().warning("redeem_answer_rejected", error=type(error).__name__)
            return {}

    def _answered(
        self, record: Record, answer: RedeemAnswer, sent_at_s: float, lives: Mapping[tuple[str, int], int]
    ) -> Record | None:
        """Return the record that follows from an answer; None when there is nothing to do."""
        log = structlog.get_logger().bind(grant_id=record.grant_id)
        order = answer.order
        if answer.outcome is RedeemOutcome.GONE:
            return None
        if answer.outcome is not RedeemOutcome.GRANTED or order is None:
            log.info("grant_not_given", outcome=answer.outcome, code=answer.code)
            return None
        life_s = lives.get((order.attempt_id, order.fence), 0)
        ordered = replace(
            record, phase=Phase.ORDERED, order=order, boot_id=self._desk.boot_id, deadline_s=sent_at_s + life_s
        )
        try:
            check_grant(
                answer.grant,
                order,
                record,
                region=self._desk.joined.region,
                keys=self._desk.trust.live(),
                life_s=life_s,
            )
        except GrantRejected as error:
            log.warning("grant_rejected", claim=error.claim)
            return self._ended(ordered, order, Ending(AttemptResult.FAILED, Reason.INTERNAL_ERROR, str(error)))
        if self._desk.is_single_tenant and not self._is_tenant(order.organisation_handle):
            log.warning("second_organisation_refused", attempt_id=order.attempt_id)
            return self._ended(ordered, order, _SECOND_ORGANISATION)
        log.info("grant_redeemed", attempt_id=order.attempt_id, fence=order.fence)
        return ordered

    def _is_tenant(self, handle: str) -> bool:
        return self._desk.records.tenant(handle) == handle

    def _ended(self, record: Record, order: LaunchOrder, ending: Ending) -> Record:
        return replace(record, phase=Phase.ENDED, final=final_report(order, ending, self._desk.first_seq + 1, None))

    def _drop(self, grant_ids: Iterable[str]) -> None:
        for grant_id in grant_ids:
            self._desk.records.remove(grant_id)
            self._waiting.pop(grant_id, None)


_SECOND_ORGANISATION = Ending(
    AttemptResult.FAILED,
    Reason.REJECTED_BY_POLICY,
    "this region's supervisor does not run as root: it cannot keep two organisations apart and serves another one",
)
