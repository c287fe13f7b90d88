"""The tests of the residency core, collected once and run many times: on the real package, or on a mutant.

A mutant takes effect in one of two ways. `in_function` puts the changed code into the function that is loaded already,
which takes milliseconds. `in_import` puts the changed module in the place of the real one before anything imports it,
for what counts at import, and for a second look at what the first way let through.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import hypothesis
import pytest

from mutation.children import answers
from mutation.kept import Trace, Traces
from mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
PACKAGE = "nordan_core.residency"
SOURCE = ROOT / "core" / "nordan_core" / "residency"
_WITHIN = f"{SOURCE}{os.sep}"
OPTIONS = (
    "--noconftest",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:terminal",
    f"--rootdir={ROOT}",
    f"--config-file={ROOT}/pyproject.toml",
)

hypothesis.settings.register_profile("the same each time", derandomize=True, database=None, deadline=None)


class Collected:
    """Tests that are ready to run, in a process where the real package is loaded."""

    def __init__(self, items: Sequence[pytest.Item], failures: list[str]) -> None:
        self._items = {item.nodeid: item for item in items}
        self._failures = failures

    def traces(self, workers: int, kept: Traces) -> list[Trace]:
        """Run each test once in a child of its own, so that what one has cached hides nothing from the next."""
        left = tuple(one for one in self._items if one not in kept.known)
        for _, trace in answers(left, self._traced, workers=workers, is_silent=True):
            if trace is not None:
                kept.keep(trace)
        found = (kept.known[one] for one in self._items if one in kept.known)
        return sorted(found, key=lambda one: (one.seconds, one.test))

    def in_function(self, mutant: Mutant, names: Sequence[str]) -> str | None:
        """Put a mutant into the loaded function and return the first of some tests that fails, or None."""
        if not _patched(mutant):
            return None
        nexts = (*names[1:], None)
        return next((one for one, then in zip(names, nexts, strict=True) if self._fails(one, then)), None)

    def _fails(self, name: str, then: str | None = None) -> bool:
        before, item = len(self._failures), self._items[name]
        # What the next test uses as well stays set up.
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=self._items[then] if then else None)
        return len(self._failures) > before

    def _traced(self, name: str) -> Trace:
        functions = set[str]()

        def note(frame: FrameType, event: str, _argument: Any) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(_WITHIN):
                outermost = frame.f_code.co_qualname.partition(".<locals>")[0]
                functions.add(f"{Path(frame.f_code.co_filename).stem} {outermost}")

        begun_s = time.process_time()
        sys.setprofile(note)
        try:
            self._fails(name)
        finally:
            sys.setprofile(None)
        return Trace(name, time.process_time() - begun_s, frozenset(functions))


def collect(files: Sequence[str], then: Callable[[Collected], None]) -> None:
    """Collect the tests of some files and hand them over."""
    _run(files, _Plugin(then))


def in_import(mutant: Mutant, files: Sequence[str]) -> str | None:
    """Run all tests of some files with a mutant from the start and return the first that fails, or None.

    For a process that has not imported Nordan yet.
    """
    sys.meta_path.insert(0, _InPlace(mutant))
    plugin = _Plugin()
    _run(files, plugin, "-x")
    return plugin.failures[0] if plugin.failures else None


def _run(files: Sequence[str], plugin: _Plugin, *options: str) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    hypothesis.settings.load_profile("the same each time")
    pytest.main([*OPTIONS, *options, *files], [plugin])


class _Plugin:
    """Keeps which tests fail; without limits of real time, which say nothing on a machine that does other things."""

    def __init__(self, then: Callable[[Collected], None] | None = None) -> None:
        self._then = then
        self.failures: list[str] = []

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        parser.addini("timeout", "known, and left to the limit of processor time")

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "timeout: as above")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failures.append(f"import of {report.nodeid}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failures.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self._then is None or self.failures:
            return None
        gc.freeze()
        self._then(Collected(session.items, self.failures))
        return True


# --- Putting a mutant in.


def _patched(mutant: Mutant) -> bool:
    code: CodeType | None = compile(mutant.tree(), mutant.path, "exec")
    target: Any = sys.modules.get(f"{PACKAGE}.{mutant.module}")
    for part in mutant.function.split("."):
        inside = [] if code is None else [one for one in code.co_consts if isinstance(one, CodeType)]
        code = next((one for one in inside if one.co_name == part), None)
        target = None if target is None else vars(target).get(part)
    function = _plain(target)
    if function is None or code is None or code.co_freevars or function.__code__ == code:
        return False
    function.__code__ = code
    return True


def _plain(target: Any) -> FunctionType | None:
    """Return the function behind a property, a class method or a cache."""
    for name in ("fget", "__func__", "__wrapped__"):
        target = getattr(target, name, target)
    return target if isinstance(target, FunctionType) else None


class _InPlace(MetaPathFinder, Loader):
    """Finds a mutant where the real module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        if fullname != f"{PACKAGE}.{self._mutant.module}":
            return None
        return importlib.util.spec_from_file_location(fullname, self._mutant.path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._mutant.tree(), self._mutant.path, "exec"), vars(module))
