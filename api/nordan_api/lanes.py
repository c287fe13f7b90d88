"""Threads for requests, in lanes, so that what tenants ask never keeps a region's heartbeat or a probe waiting.

The default lane, in which FastAPI runs plain routes, is kept narrow: threads share one interpreter, and more of them
make waits uneven. A question to the scheduler may wait for seconds, so it has a lane of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import Request

#: Regions speak every 2 s each, in batches; more at once than this would only wait for each other's rows.
REGIONS = 8
QUESTIONS = 4
PROBES = 1

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes beside the default one."""

    regions: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(REGIONS))
    questions: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(QUESTIONS))
    probes: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PROBES))


def narrow_default_lane(threads: int) -> None:
    """Set how many requests of tenants are at work at once; called on the running loop."""
    current_default_thread_limiter().total_tokens = threads


def lanes_of(request: Request) -> Lanes:
    """Return the lanes of the app that serves this request."""
    lanes: Lanes = request.app.state.lanes
    return lanes


async def on_lane(lane: CapacityLimiter, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Run blocking work on a thread of a lane."""
    return await run_sync(work, *arguments, limiter=lane)
