"""What the model of the protocol holds: two jobs, two pools, three versions of the law. `protocol_steps` moves it.

It says nothing about how the store does it, only what is decided on what: who compares which word with which law, who
waits for what. Each such check is a guard that can be left out, and then the search has to find what the check is for.

Time is a count of ticks. Only what is left of something is kept, never when it was, so the states are finitely many. A
transaction of the database is one event, but for a redemption: that is judged, then written. Messages may be lost, come
late and come twice: a message that comes twice is one that may be sent again, since the sender cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import NamedTuple

#: Ticks that the control plane waits beyond a grant's end, and by which a region's clock may be behind.
SKEW = 1
TRIES = 2
VERSIONS = 3
POOLS = (0, 1)
#: Two supervisors of one region that both got the same message.
SUPERVISORS = (1, 2)


@dataclass(frozen=True)
class Guards:
    """Every check of the protocol; a check that is left out is false."""

    ttl: int = 1
    """Ticks that a grant lives without renewal."""
    epoch_is_compared: bool = True
    """A word of the judge falls with a step of the epoch: a policy or a fact has changed."""
    atlas_is_compared: bool = True
    end_is_compared: bool = True
    """It falls at its own end, too, which moves no epoch."""
    commit_compares: bool = True
    """A plan is judged again when its word has fallen."""
    redemption_judges: bool = True
    epoch_is_held: bool = True
    """A change of law waits for the redemption that was judged before it."""
    renewal_judges: bool = True
    end_judges: bool = True
    """What an attempt made is kept only if it may still be there."""
    plan_names_version: bool = True
    """A plan for a job that has moved on is dropped."""
    room_is_compared: bool = True
    redemption_is_one: bool = True
    """A grant that was redeemed is nobody else's."""
    report_names_fence: bool = True
    stop_is_final: bool = True
    """What was told to stop is neither renewed nor kept."""
    expiry_is_awaited: bool = True
    skew_is_awaited: bool = True
    deadline_counts_from_sending: bool = True
    shim_stops_itself: bool = True
    what_is_there_is_revisited: bool = True


GUARDS = tuple(one.name for one in fields(Guards) if one.name != "ttl")


class Change(Enum):
    """How the law can move. An end moves no epoch, and a word names its atlas beside its epoch."""

    FLOOR = "the floor of a project changes"
    FACTS = "the operator of pool 0 is sold"
    ATLAS = "the territory of pool 1 leaves or joins a group"
    END = "a certification of pool 0 ends"


class Law(NamedTuple):
    """What has changed since the start, and how many versions there have been."""

    versions: int = 1
    changed: frozenset[Change] = frozenset()
    is_looked_at: bool = True
    """The leader has looked again at all that is there since the law moved."""

    def allows(self, job: int, pool: int) -> bool:
        """Tell whether a job may be in a pool: each change forbids one job one pool."""
        forbids = {(0, 1): Change.FLOOR, (0, 0): Change.FACTS, (1, 1): Change.ATLAS, (1, 0): Change.END}
        return forbids[job, pool] not in self.changed

    def moves(self) -> Iterator[tuple[Change, Law]]:
        """Yield each change that may come next; what has ended stays so."""
        if self.versions < VERSIONS:
            for change in Change:
                if change is not Change.END or change not in self.changed:
                    yield change, Law(self.versions + 1, self.changed ^ {change}, is_looked_at=False)


#: Where a job stands.
NEW, WAITING, LIVE, FENCED, DONE = range(5)


class Word(NamedTuple):
    """That the judge said yes. `is_new` is what is so, `stands` what those who compare take it for."""

    stands: bool = True
    is_new: bool = True


class Plan(NamedTuple):
    """What the scheduler remembers between its plan and its commit."""

    pool: int
    word: Word = Word()
    is_of_this_version: bool = True


class Attempt(NamedTuple):
    """What the database calls live. Its number is its fence."""

    number: int
    pool: int
    word: Word = Word()
    supervisor: int = 0
    """0 until it is redeemed."""
    alive: int = 0
    """Ticks until its grant has run out; it may be less than nothing."""
    is_stopped: bool = False
    """It became unlawful."""


class Opened(NamedTuple):
    """A redemption that is judged and not yet committed."""

    number: int
    supervisor: int
    is_new: bool = True


class Answer(NamedTuple):
    """What is under way to a region; `left` is what remains of its grant by the region's own count."""

    number: int
    pool: int
    supervisor: int
    left: int
    starts: bool = False


class Run(NamedTuple):
    """A process in a region."""

    number: int
    pool: int
    supervisor: int
    left: int
    is_behind: bool = False
    """Its clock has lost a tick already."""
    unlawful_for: int = 0


class Job(NamedTuple):
    """One job: what the scheduler remembers, what the database holds, what goes on in the regions."""

    phase: int = NEW
    made: int = 0
    plan: Plan | None = None
    live: tuple[Attempt, ...] = ()
    opened: Opened | None = None
    answers: frozenset[Answer] = frozenset()
    runs: frozenset[Run] = frozenset()
    reports: frozenset[int] = frozenset()
    """Attempts that succeeded, as their regions tell until they hear that it is known."""
    kept: tuple[int, ...] = ()
    """Attempts whose outputs were published."""
    rests: int | None = None
    """The pool where what was published lies."""
    is_readable: bool = True

    @property
    def held(self) -> frozenset[int]:
        """Return the pools that its attempts hold."""
        return frozenset(one.pool for one in self.live)

    @property
    def _where(self) -> list[Run | Answer]:
        return [*self.runs, *self.answers]

    def knows(self, number: int, supervisor: int) -> bool:
        """Tell whether a supervisor has an attempt, or will hear of it."""
        return any((one.number, one.supervisor) == (number, supervisor) for one in self._where)

    def is_under_way(self, number: int) -> bool:
        """Tell whether an attempt runs, may yet start, or has succeeded untold."""
        return number in self.reports or any(one.number == number for one in self._where)

    def fault(self) -> str:
        """Return the invariant that it breaks as it stands; no text where it breaks none."""
        if len(self.live) > 1:
            return "one job has two live fences"
        if len(self.runs) > 1:
            return "an attempt started before the one before it had stopped"
        if len(self.kept) > 1:
            return "outputs were published twice"
        return ""
