"""A syncer by itself: no attempts, no executor, and an api that the test brings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from nordan_core.clock import ManualClock
from nordan_workers.supervisor.sync import Line, Syncer
from nordan_workers.trust import Trust


class NoAttempts:
    """A fleet that holds nothing."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Noticeboard:
    """Takes what gateways would read."""

    def fences(self, objects: tuple[str, ...]) -> None:
        """Take what nobody may read any more."""

    def successions(self, statements: tuple[Any, ...]) -> None:
        """Take how keys changed."""


def syncer_over(api: object, clock: ManualClock, *, fleet: NoAttempts | None = None, nodes: object = None) -> Syncer:
    """Return a syncer that speaks to this api."""
    parts: Any = {"executor": None, "joined": None, "trust": Trust({}, clock), "faults": None}
    parts |= {"noticeboard": Noticeboard(), "api": api, "nodes": nodes}
    return Syncer(Line(supervisor_id="sup", clock=clock, **parts), cast("Any", fleet or NoAttempts()))
