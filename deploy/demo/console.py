"""What the demo prints and counts: headings, checks, facts. A failed check is remembered, and the demo goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Found = TypeVar("Found")
POLL_S = 0.1


class Stopped(Exception):
    """A step cannot go on; the text says why."""


@dataclass
class Console:
    """Prints as the demo goes, and knows in the end whether all was well."""

    began: float = field(default_factory=time.monotonic)
    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Begin a step."""
        print(f"\n[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def say(self, text: str) -> None:
        """Show a fact or an answer, indented."""
        for line in text.rstrip().splitlines():
            print(f"    {line}", flush=True)

    def check(self, holds: bool, claim: str, otherwise: object = "") -> None:
        """Count a claim as kept or broken; `otherwise` is shown when it is broken."""
        if holds:
            self.passed += 1
            print(f"  ok   {claim}", flush=True)
            return
        self.failed.append(claim)
        print(f"  FAIL {claim}", flush=True)
        if otherwise:
            self.say(str(otherwise))

    def require(self, holds: bool, claim: str, otherwise: object = "") -> None:
        """Check a claim that later steps stand on.

        Raises:
            Stopped: when it does not hold.
        """
        self.check(holds, claim, otherwise)
        if not holds:
            raise Stopped(claim)

    def summary(self) -> str:
        """Return the closing line."""
        return f"demo: {self.passed} passed, {len(self.failed)} failed in {time.monotonic() - self.began:.0f} s"


def until(look: Callable[[], Found | None], what: str, within_s: float) -> Found:
    """Return what `look` finds, asking again until it is not None.

    Raises:
        Stopped: when nothing was found in time.
    """
    deadline = time.monotonic() + within_s
    began = time.monotonic()
    while (found := look()) is None:
        ended = time.monotonic()
        if ended > deadline:
            raise Stopped(f"waited {within_s:.0f} s for {what}")
        # What is waited for needs the processors as well: looking takes half of the time at most.
        time.sleep(max(POLL_S, ended - began))
        began = time.monotonic()
    return found
