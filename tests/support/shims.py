"""Regions whose shims stop by themselves: what a supervisor does with the answers that reach it, late or never.

`RegionSide` says to the worker API whatever a test wants; this says what a sound region would, and no more. A deadline
counts from when the request was sent. What an attempt came to is told again until the control plane settles it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_renewal
from support.control import Json
from support.lab import Lab
from support.region_side import Run, asking, manifest


@dataclass
class Shim:
    """A process that stops when its time is over."""

    job: str
    pool: str
    run: Run
    dies_at_s: float
    """On the monotonic clock."""
    unlawful_since: datetime | None = None


@dataclass
class Answer:
    """What the api answered, until it arrives."""

    sent_at_s: float
    body: Json
    redemption: str = ""
    """Of a redemption; a sync has none."""


@dataclass
class Region:
    """The supervisor of one region and its shims."""

    lab: Lab
    code: str
    shims: dict[str, Shim] = field(default_factory=dict)
    """Running, by attempt."""
    untold: dict[str, Json] = field(default_factory=dict)
    """Last reports by attempt, until they are settled."""
    redemptions: dict[str, str] = field(default_factory=dict)
    """On the disk: under which id a grant was asked for."""
    seen: set[str] = field(default_factory=set)
    """On the disk: attempts that were started."""
    late: list[Answer] = field(default_factory=list)

    def ask_for(self, grant: str) -> Answer:
        """Redeem a grant; the answer is under way."""
        sent_at_s = self.lab.clock.monotonic()
        redemption = self.redemptions.setdefault(grant, secrets.token_hex(16))
        request = asking({"grant_id": grant, "redemption_id": redemption})
        body = self.lab.worker(self.code, "/worker/v1/grants:redeem", request)
        self.late.append(Answer(sent_at_s, body, redemption))
        return self.late[-1]

    def sync(self) -> Answer:
        """Say what lives here and what has ended; the answer is under way."""
        sent_at_s = self.lab.clock.monotonic()
        body = {
            "supervisor_id": "sup-1",
            "nonce": secrets.token_hex(16),
            "reports": [*self.untold.values(), *(shim.run.report("running") for shim in self.shims.values())],
            "live": [{"attempt_id": one.run.attempt, "fence": one.run.fence} for one in self.shims.values()],
        }
        self.late.append(Answer(sent_at_s, self.lab.worker(self.code, "/worker/v1/sync", body)))
        return self.late[-1]

    def arrive(self, answer: Answer) -> None:
        """Act on an answer."""
        self.late.remove(answer)
        lives = lives_of(self.lab, answer)
        if answer.redemption:
            self._start(answer, lives)
            return
        for attempt, life_s in lives.items():
            if attempt in self.shims:
                self.shims[attempt].dies_at_s = answer.sent_at_s + life_s
        for stop in answer.body["stop"]:
            result = "fenced" if stop["reason"] == "fenced" else "cancelled"
            self.end(stop["attempt_id"], result, "fenced" if result == "fenced" else "cancelled_by_user")
        for attempt in (*answer.body["settled"], *answer.body["unknown"]):
            self.shims.pop(attempt, None)
        for attempt in answer.body["settled"]:
            self.untold.pop(attempt, None)

    def end(self, attempt: str, result: str, reason: str | None = None) -> None:
        """End a process; that it has ended is told with the next sync."""
        shim = self.shims.pop(attempt, None)
        if shim is not None:
            outputs = {"model": manifest(model=attempt)} if result == "succeeded" else {}
            self.untold[attempt] = shim.run.ended(result, reason=reason, outputs=outputs)

    def look_at_clock(self) -> None:
        """Let the shims whose time is over stop."""
        now_s = self.lab.clock.monotonic()
        for attempt in [one for one, shim in self.shims.items() if shim.dies_at_s <= now_s]:
            self.end(attempt, "lost", "grant_expired")

    def lose_disk(self) -> None:
        """Begin as a supervisor that remembers no redemption; what runs goes on, and is adopted."""
        self.redemptions.clear()
        self.late.clear()

    def _start(self, answer: Answer, lives: dict[str, int]) -> None:
        [item] = answer.body["items"]
        if item["outcome"] != "granted":
            return
        order = item["order"]
        dies_at_s = answer.sent_at_s + lives[order["attempt_id"]]
        if order["attempt_id"] in self.seen or dies_at_s <= self.lab.clock.monotonic():
            return
        self.seen.add(order["attempt_id"])
        run = Run(self.code, item["grant_id"], answer.redemption, order, item["grant"])
        self.shims[run.attempt] = Shim(order["job_id"], order["pool"], run, dies_at_s)


def lives_of(lab: Lab, answer: Answer) -> dict[str, int]:
    """Return seconds of life by attempt, from the signed renewal."""
    claims = read_renewal(answer.body["renewal"], keys=trusted(lab.context.grant_key.public))
    return {one.attempt_id: one.ttl_s for one in claims.items}


def running(regions: Iterable[Region]) -> list[Shim]:
    """Return all that runs anywhere."""
    return [shim for region in regions for shim in region.shims.values()]
