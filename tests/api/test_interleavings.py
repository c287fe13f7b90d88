"""Whatever happens in whatever order, the store stays sound: a state machine over everything that moves jobs."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.lab import JOBS, Lab
from support.region_side import RegionSide, Run, manifest
from support.soundness import assert_sound

pick = st.integers(0, 1 << 16)
#: How a region may say that an attempt came to its end.
ENDS = [
    ("succeeded", None),
    ("failed", "container_exit"),
    ("failed", "oom"),
    ("lost", "node_lost"),
    ("lost", "grant_expired"),
    ("cancelled", "cancelled_by_user"),
    ("fenced", "fenced"),
]


class Life(RuleBasedStateMachine):
    """Jobs, regions that hold runs live or long dead, time, and a law that moves."""

    lab: Lab

    @initialize()
    def begin(self) -> None:
        self.lab = self.lab.fresh()
        self.jobs: list[str] = []
        self.runs: list[Run] = []
        self.is_at_home = True

    @rule(gpus=st.sampled_from([1, 3, 8]), nodes=st.integers(1, 3), limit=st.integers(0, 2), outputs=st.booleans())
    def submit(self, gpus: int, nodes: int, limit: int, outputs: bool) -> None:
        body: dict[str, Any] = {
            "name": "any",
            "command": ["true"],
            "resources": {"gpu": gpus},
            "nodes": nodes,
            "retry": {"limit": limit},
            "outputs": ["model"] if outputs else [],
        }
        self.jobs.append(self.lab.admin("POST", JOBS, body, expect=202).json()["id"])

    @rule()
    def cycle(self) -> None:
        self.lab.hear()
        self.lab.cycle()

    @rule(which=pick)
    def redeem(self, which: int) -> None:
        rows = self.lab.rows("select id, region, redemption_id from attempt_grant order by id")
        if not rows:
            return
        grant, code, known = rows[which % len(rows)]
        redemption = secrets.token_hex(16)
        answer = RegionSide(self.lab, code).redeem(grant, redemption)
        if answer["outcome"] == "granted":
            assert known is None, "a second redemption"
            self.runs.append(Run(code, grant, redemption, answer["order"], answer["grant"]))

    @precondition(lambda self: bool(self.runs))
    @rule(which=pick)
    def redeem_again(self, which: int) -> None:
        run = self.runs[which % len(self.runs)]
        answer = RegionSide(self.lab, run.region).redeem(run.grant, run.redemption)
        if answer["outcome"] == "granted":
            assert answer["order"]["attempt_id"] == run.attempt
            assert answer["order"]["fence"] == run.fence

    @precondition(lambda self: bool(self.runs))
    @rule(which=pick, state=st.sampled_from(["pulling", "running", "stopping"]), is_old=st.booleans())
    def report(self, which: int, state: str, is_old: bool) -> None:
        run = self.runs[which % len(self.runs)]
        report = run.report(state)
        RegionSide(self.lab, run.region).sync({**report, "seq": 1} if is_old else report, live=[run])

    @precondition(lambda self: bool(self.runs))
    @rule(which=pick, end=st.sampled_from(ENDS), has_output=st.booleans(), fence=st.sampled_from([0, 0, 0, 1]))
    def end(self, which: int, end: tuple[str, str | None], has_output: bool, fence: int) -> None:
        run = self.runs[which % len(self.runs)]
        outputs = {"model": manifest(m=run.attempt)} if has_output else {}
        report = run.ended(end[0], reason=end[1], outputs=outputs, running_s=12.5)
        RegionSide(self.lab, run.region).sync({**report, "fence": run.fence + fence}, live=[run])

    @precondition(lambda self: bool(self.runs))
    @rule(which=pick)
    def publish(self, which: int) -> None:
        run = self.runs[which % len(self.runs)]
        body = {"attempt_id": run.attempt, "fence": run.fence, "kind": "checkpoint", "name": "c", "manifest": {}}
        answer = self.lab.call("POST", "/worker/v1/artifacts", body, key=self.lab.credentials[run.region])
        live = self.lab.one("select state from attempt where id = :id", id=run.attempt)
        assert answer.status_code == 409 if live == "ended" else answer.status_code in {201, 409}

    @precondition(lambda self: bool(self.jobs))
    @rule(which=pick)
    def cancel(self, which: int) -> None:
        answer = self.lab.admin("POST", f"{JOBS}/{self.jobs[which % len(self.jobs)]}:cancel", {})
        assert answer.status_code in {200, 409}

    @rule(seconds=st.sampled_from([1.0, 70.0, 310.0, 920.0]))
    def wait(self, seconds: float) -> None:
        self.lab.clock.advance(seconds)
        self.lab.reap()

    @rule()
    def law_moves(self) -> None:
        """The French data centre turns out to stand in the US, or to be back in France."""
        self.is_at_home = not self.is_at_home
        region = self.lab.one("select document from region where code = 'fr-bru-1'")
        territory, locode = ("FR", "FRPAR") if self.is_at_home else ("US", "")
        self.lab.apply({**region, "territory": territory, "locode": locode})

    @rule()
    def seal(self) -> None:
        self.lab.seal()

    @invariant()
    def the_store_is_sound(self) -> None:
        if hasattr(self, "jobs"):
            assert_sound(self.lab)


@pytest.mark.timeout(300)
def test_no_order_of_events_breaks_the_store(laboratory: Lab) -> None:
    """Seeded, so a failure here is the same failure everywhere."""

    class OfThisLab(Life):
        lab = laboratory

    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        OfThisLab,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=checks,
        ),
    )


EXAMPLES, STEPS = 8, 30
