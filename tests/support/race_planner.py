"""A process that runs the real cycle, one round for each line that it is told, and says when it has planned.

Between plan and apply it waits as long as it was told, so that a change of law may fall before, into or behind the
apply. Run by `support.races`; the URL of the database is its argument.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from sqlalchemy import create_engine

from nordan_core.atlases import AtlasShelf
from nordan_core.clock import SystemClock
from nordan_core.facts import FactsCache
from nordan_core.store.unit_of_work import Store
from nordan_scheduler import cycle as cycle_module
from nordan_scheduler.cycle import Cycle
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.load import Loader
from nordan_scheduler.metrics import Metrics


def main() -> None:
    """Lead, and run a cycle for each line `seconds`."""
    store, clock = Store(create_engine(sys.argv[1])), SystemClock()
    with store.begin() as work:
        epoch = work.leadership.campaign("races", 86_400.0)
    assert epoch is not None
    loader = Loader(store, clock, FactsCache(AtlasShelf()))
    cycle = Cycle(store, clock, loader, wake_regions=lambda _: None, metrics=Metrics())
    wait_s = 0.0

    def plan_and_wait(*args: Any, **more: Any) -> Any:  # Any: what the cycle hands to its plan
        decided = plan(*args, **more)
        _say("planned")
        time.sleep(wait_s)
        return decided

    cycle_module.plan = plan_and_wait  # type: ignore[attr-defined]
    _say("ready")
    for line in sys.stdin:
        wait_s = float(line)
        report = cycle.run(epoch)
        _say(f"placed {report.placed}")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
