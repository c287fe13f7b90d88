"""Two jobs under one law: every state that the protocol can reach, each looked at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import cache
from itertools import product
from typing import Generic, TypeVar

from support.breadth_first import Found, State, Step, search
from support.protocol_steps import Moves
from support.protocol_values import DONE, Change, Guards, Job, Law, Word

Value = TypeVar("Value", bound=Hashable)
#: Values are known by numbers of so many bits, so that a state is one number.
BITS = 20
MOST = 1 << BITS


def explore(guards: Guards | None = None, *, jobs: int = 2, most: int = 3_000_000) -> Found:
    """Look at every state within reach of new jobs, up to the first fault."""
    model = _Model(guards or Guards())
    return search(model.start(jobs), model.steps, most=most)


class _Numbers(Generic[Value]):
    """Values by number, and numbers by value."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._known: dict[Value, int] = {}

    def of(self, value: Value) -> int:
        number = self._known.setdefault(value, len(self.values))
        if number == len(self.values):
            assert number < MOST, "more values than fit"
            self.values.append(value)
        return number


class _Model:
    """States as numbers; what may happen to one job is worked out once and then looked up."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._laws: _Numbers[Law] = _Numbers()
        self._jobs: _Numbers[Job] = _Numbers()
        self._alone = cache(self._alone_of)
        self._ticked = cache(self._ticked_of)
        self._looked = cache(self._looked_of)
        self._after = cache(self._after_change)
        self._changes = cache(self._changes_of)
        self._looked_at = cache(self._looked_at_of)
        self._forgotten = cache(self._forgotten_of)

    def start(self, jobs: int) -> State:
        """Return two new jobs, or one new one beside one that is over."""
        new, over = self._jobs.of(Job()), self._jobs.of(Job(DONE))
        return self._state(self._laws.of(Law()), new, new if jobs == 2 else over)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield every step from a state."""
        law, first, second = state >> 2 * BITS, state >> BITS & MOST - 1, state & MOST - 1
        one, two = self._jobs.values[first], self._jobs.values[second]
        # 1. One job alone; while a redemption is open, that one.
        if two.opened is None:
            for what, after, fault in self._alone(0, first, law, two.held):
                yield what, self._state(law, after, second), fault
        if one.opened is None:
            for what, after, fault in self._alone(1, second, law, one.held):
                yield what, self._state(law, first, after), fault
        is_open = one.opened is not None or two.opened is not None
        # 2. A change of law, which waits for who holds the epoch.
        if not (is_open and self._guards.epoch_is_held):
            for change, moved in self._changes(law):
                yield change.value, self._state(moved, self._after(first, change), self._after(second, change)), ""
        if is_open:
            return
        # 3. What the leader does with all, and what it forgets when it dies. Nothing that is due in a moment waits for
        #    a tick: the leader has looked, no transaction is open.
        if self._laws.values[law].is_looked_at:
            yield from self._ticks(law, first, second)
        else:
            looked = (self._looked(law, 0, first), self._looked(law, 1, second))
            yield "the leader looks again at what is there", self._state(self._looked_at(law), *looked), ""
        if one.plan or two.plan:
            yield "the scheduler crashes", self._state(law, self._forgotten(first), self._forgotten(second)), ""

    def _ticks(self, law: int, one: int, two: int) -> Iterator[Step]:
        for (first, fault), (second, other) in product(self._ticked(law, 0, one), self._ticked(law, 1, two)):
            yield "time passes", self._state(law, first, second), fault or other

    def _alone_of(self, which: int, job: int, law: int, taken: frozenset[int]) -> tuple[tuple[str, int, str], ...]:
        found = self._jobs.values[job]
        moves = Moves(which, self._laws.values[law], taken | found.held, self._guards)
        return tuple(
            (f"job {which}: {what}", self._jobs.of(after), fault or _room(after, found, taken))
            for what, after, fault in moves.all(found)
        )

    def _ticked_of(self, law: int, which: int, job: int) -> tuple[tuple[int, str], ...]:
        moves = Moves(which, self._laws.values[law], frozenset(), self._guards)
        return tuple((self._jobs.of(after), fault) for after, fault in moves.ticked(self._jobs.values[job]))

    def _looked_of(self, law: int, which: int, job: int) -> int:
        moves = Moves(which, self._laws.values[law], frozenset(), self._guards)
        return self._jobs.of(moves.revisited(self._jobs.values[job]))

    def _looked_at_of(self, law: int) -> int:
        return self._laws.of(self._laws.values[law]._replace(is_looked_at=True))

    def _forgotten_of(self, job: int) -> int:
        return self._jobs.of(self._jobs.values[job]._replace(plan=None))

    def _after_change(self, job: int, change: Change) -> int:
        found = self._jobs.values[job]
        word = self._fallen(change)
        live = tuple(one._replace(word=word(one.word)) for one in found.live)
        plan = found.plan and found.plan._replace(word=word(found.plan.word))
        opened = found.opened and found.opened._replace(is_new=False)
        return self._jobs.of(found._replace(live=live, plan=plan, opened=opened))

    def _fallen(self, change: Change) -> Callable[[Word], Word]:
        guards = self._guards
        compares = {
            Change.FLOOR: guards.epoch_is_compared,
            Change.FACTS: guards.epoch_is_compared,
            Change.ATLAS: guards.atlas_is_compared,
            Change.END: guards.end_is_compared,
        }[change]
        return lambda word: Word(stands=word.stands and not compares, is_new=False)

    def _changes_of(self, law: int) -> tuple[tuple[Change, int], ...]:
        return tuple((change, self._laws.of(after)) for change, after in self._laws.values[law].moves())

    @staticmethod
    def _state(law: int, one: int, two: int) -> State:
        return (law << BITS | one) << BITS | two


def _room(after: Job, before: Job, taken: frozenset[int]) -> str:
    return "one pool is held twice" if (after.held - before.held) & taken else ""
