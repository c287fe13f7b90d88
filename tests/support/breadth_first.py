"""Look at every state that can be reached, nearest first, so that the first fault found has the shortest way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

State = int
Step = tuple[str, State, str]
"""What happens, the state after it, and which invariant it breaks; no text where it breaks none."""


@dataclass(frozen=True)
class Found:
    """What a search saw."""

    states: int
    steps: int
    depth: int
    """Events from the start to the state that is furthest away."""
    fault: str = ""
    path: tuple[str, ...] = ()
    """The events from the start to the fault."""

    def __str__(self) -> str:
        seen = f"{self.states} states, {self.steps} steps, {self.depth} deep"
        return "\n".join([seen, *self.path, f"=> {self.fault}"] if self.fault else [seen, "no fault"])


def search(start: State, steps: Callable[[State], Iterable[Step]], *, most: int) -> Found:
    """Return what there is within reach, up to the first fault.

    Raises:
        OverflowError: there are more than `most` states, so that the search would not be one of all of them.
    """
    came_from = {start: start}
    edge, taken, depth = [start], 0, 0
    while edge:
        further: list[State] = []
        for state in edge:
            for what, after, fault in steps(state):
                taken += 1
                if fault:
                    return Found(len(came_from), taken, depth, fault, (*_way(came_from, steps, state), what))
                if after not in came_from:
                    came_from[after] = state
                    further.append(after)
        if len(came_from) > most:
            raise OverflowError(f"more than {most} states")
        edge = further
        depth += bool(edge)
    return Found(len(came_from), taken, depth)


def _way(came_from: dict[State, State], steps: Callable[[State], Iterable[Step]], state: State) -> list[str]:
    path = []
    while (before := came_from[state]) != state:
        path.append(next(what for what, after, _ in steps(before) if after == state))
        state = before
    return path[::-1]
