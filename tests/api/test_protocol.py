"""Whatever happens in whatever order, nobody runs, renews or publishes under a law that is gone."""

from __future__ import annotations

import os
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.lab import Lab
from support.protocol_machine import Protocol

#: `make protocol` runs as many as it is told, with chance; a test always the same.
EXAMPLES, STEPS = 8, 40
LONG = int(os.environ.get("PROTOCOL_EXAMPLES", "0"))

#: What has to happen at least once, so that the silence means something.
MET = (
    *("placed", "unlawful", "life: long", "life: short", "redemption: granted", "grant_revoked", "attempt_fenced"),
    *("told to stop", "ended unlawfully", "reaped"),
)


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * LONG)
def test_no_order_of_events_breaks_the_protocol(laboratory: Lab) -> None:
    """On the real store, seeded, so a failure here is the same failure everywhere."""

    class OfThisLab(Protocol):
        lab = laboratory
        tally: ClassVar[Counter[str]] = Counter()

    run_state_machine_as_test(
        OfThisLab,
        settings=settings(
            max_examples=LONG or EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    print(dict(sorted(OfThisLab.tally.items())))
    assert {what for what in MET if not OfThisLab.tally[what]} == set()
