"""Breaks the residency core in one place at a time and asks its tests whether they notice: `make mutants`.

Too long for `make test`. What was noticed is kept in `build/mutants.jsonl` for as long as that module stays as it is,
and what each test goes through for as long as the core and the tests do: a run that was stopped goes on where it was,
and what survived is asked again. Mutants that nothing can notice are
listed with the reason in `equivalent.txt`.

No file is changed. The tests are collected and traced once; for each mutant a fork of that process puts the changed
code into the loaded function and runs the tests that go through it, the quickest first, until one fails. What counts at
import is put to every test, each time in a process that has not imported the package yet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from mutation.children import answers
from mutation.kept import Results, Trace, Traces
from mutation.mutants import Mutant, mutants_of
from mutation.trial import ROOT, SOURCE, Collected, collect, in_import

TESTS = ROOT / "tests" / "core" / "residency"
SUPPORT = ROOT / "tests" / "support"
KEPT = ROOT / "build" / "mutants.jsonl"
TRACED = ROOT / "build" / "traces.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
PROOFS = ("test_exhaustive.py", "test_proofs.py")
"""They take minutes of processor time, so only `--thorough` puts what the others let through to them."""
QUICK_S = 0.5
"""Seconds of processor time: most mutants are noticed by tests that take less."""
QUICK_CPU_S, CPU_S = 60, 400
"""Seconds of processor time: several times what the quick tests take, and all. A mutant that takes longer is noticed:
many turn a loop into one without end."""
ENDLESS = "no test: it does not end, or takes all memory"


def main() -> None:
    """Put the chosen mutants to the tests and list the survivors; exit 1 if there is one without a reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="modules of the core, such as checks; all if none is named")
    parser.add_argument("--thorough", action="store_true", help="put survivors to the proofs, too")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=KEPT, help="where to keep what was noticed")
    asked = parser.parse_args()
    mutants = [mutant for path in _paths(asked.modules) for mutant in mutants_of(path)]
    results = Results(asked.kept)
    left = [one for one in mutants if results.noticed_by(one) is None and one.name not in equivalents()]
    if left:
        _ask(left, results, workers=asked.workers, thorough=asked.thorough)
    sys.exit(_summary(mutants, results))


@dataclass(frozen=True, slots=True)
class Asked:
    """Some tests, as one who is asked about mutants."""

    title: str
    who: Callable[[Mutant], str | None]
    """Returns the test that notices a mutant."""
    seconds: int
    """Of processor time that one mutant may take."""


@cache
def equivalents() -> dict[str, str]:
    """Return the mutants that cannot be noticed, each with the reason: a line, and below it, indented, its mutants."""
    reason, found = "", {}
    for line in EQUIVALENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            found[line.strip()] = reason
        elif line:
            reason = line
    return found


def _paths(modules: Sequence[str]) -> list[Path]:
    return [SOURCE / f"{name.removesuffix('.py')}.py" for name in modules] or sorted(SOURCE.glob("*.py"))


def _ask(mutants: Sequence[Mutant], results: Results, *, workers: int, thorough: bool) -> None:
    files = [path.name for path in sorted(TESTS.glob("test_*.py")) if thorough or path.name not in PROOFS]
    # 1. In the loaded function, to the tests that go through it.
    _wait_for(lambda: _to_whom_it_concerns([one for one in mutants if one.function], files, results, workers))
    # 2. From the start, to all tests: what counts at import.
    at_import = [one for one in mutants if not one.function]
    asked = Asked("at import", lambda one: in_import(one, _paths_of(_nearest_first(one, files))), CPU_S)
    _put(at_import, asked, results, workers)


def _to_whom_it_concerns(mutants: Sequence[Mutant], files: Sequence[str], results: Results, workers: int) -> None:
    def ask(collected: Collected) -> None:
        kept = Traces(TRACED, [*SOURCE.glob("*.py"), *TESTS.rglob("*.py"), *SUPPORT.rglob("*.py")])
        traces = collected.traces(workers, kept)
        print(f"{len(traces)} tests traced", flush=True)
        for title, seconds, tests in (
            ("by the quick tests", QUICK_CPU_S, [one for one in traces if one.seconds < QUICK_S]),
            ("by the others", CPU_S, [one for one in traces if one.seconds >= QUICK_S]),
        ):
            left = [one for one in mutants if results.noticed_by(one) is None]
            asked = Asked(title, partial(_first_failing, collected, tests), seconds)
            _put(left, asked, results, workers)

    collect(_paths_of(files), ask)


def _first_failing(collected: Collected, tests: Sequence[Trace], mutant: Mutant) -> str | None:
    through = f"{mutant.module} {mutant.function}"
    return collected.in_function(mutant, [one.test for one in tests if through in one.functions])


def _nearest_first(mutant: Mutant, files: Sequence[str]) -> list[str]:
    return sorted(files, key=lambda file: (file != f"test_{mutant.module}.py", file in PROOFS, file))


def _true_after(call: Callable[[], None]) -> bool:
    call()
    return True


def _paths_of(files: Sequence[str]) -> list[str]:
    return [str((TESTS / file).relative_to(ROOT)) for file in files]


def _wait_for(call: Callable[[], None]) -> None:
    ((_, done),) = answers([call], _true_after)
    if not done:
        sys.exit("the tests could not be run")


def _put(mutants: Sequence[Mutant], asked: Asked, results: Results, workers: int) -> None:
    survivors = 0
    told = answers(mutants, lambda one: (asked.who(one),), workers=workers, seconds=asked.seconds, is_silent=True)
    for place, (mutant, answer) in enumerate(told, start=1):
        by = ENDLESS if answer is None else answer[0]
        if by is None:
            survivors += 1
        else:
            results.keep(mutant, by)
        if place % 100 == 0 or place == len(mutants):
            print(f"{asked.title}: {place} of {len(mutants)} asked, {survivors} not noticed so far", flush=True)


def _summary(mutants: Sequence[Mutant], results: Results) -> int:
    noticed = [one for one in mutants if results.noticed_by(one) is not None]
    excused = [one for one in mutants if one.name in equivalents()]
    survivors = [one for one in mutants if one not in noticed and one not in excused]
    for mutant in survivors:
        print(f"survives: {mutant.name}")
    print(f"{len(mutants)} mutants, {len(noticed)} noticed, {len(excused)} equivalent, {len(survivors)} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    main()
