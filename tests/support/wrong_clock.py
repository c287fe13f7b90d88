"""Runs one of Nordan's processes under a wall clock that is wrong: `python -m support.wrong_clock SECONDS MODULE`.

What counts seconds stays right, as on a machine whose time was set wrongly.
"""

from __future__ import annotations

import runpy
import sys
from datetime import datetime, timedelta

from nordan_core.clock import SystemClock


def main() -> None:
    """Set the clock off and become the module."""
    off, module = timedelta(seconds=float(sys.argv[1])), sys.argv[2]
    true = SystemClock.now

    def now(clock: SystemClock) -> datetime:
        return true(clock) + off

    setattr(SystemClock, "now", now)  # noqa: B010  a method that mypy would not let be replaced
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
