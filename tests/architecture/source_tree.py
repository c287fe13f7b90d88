"""Reads the source tree for the architecture tests: modules as syntax trees, and the escape comments in them.

A line may leave a rule with `# architecture: allow RULE, REASON`, on the line itself or the one above. The
reason is part of the syntax: without one the escape is not heard.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("core", "api", "scheduler", "workers", "cli")
PACKAGES = ("nordan_core", "nordan_api", "nordan_scheduler", "nordan_workers", "nordan_cli")
_ESCAPE = re.compile(r"#\s*architecture:\s*allow\s+(?P<rule>[a-z-]+)(?:,\s*(?P<reason>\S.{9,}))?")


@dataclass(frozen=True)
class Module:
    """One file: where it is, what it says."""

    path: str
    """Relative to the repository, with slashes."""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed file."""
        return ast.parse(self.text, filename=self.path)

    @cached_property
    def lines(self) -> list[str]:
        """Return the lines, without ends."""
        return self.text.splitlines()

    def allows(self, rule: str, line: int) -> bool:
        """Tell whether the line, or the one above, leaves the rule and says why."""
        for number in (line, line - 1):
            match = _ESCAPE.search(self.lines[number - 1]) if number >= 1 else None
            if match and match["rule"] == rule and match["reason"]:
                return True
        return False


@dataclass(frozen=True)
class Finding:
    """A place that breaks a rule."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@cache
def source_modules() -> tuple[Module, ...]:
    """Return every Python file of the five packages, in order of path."""
    return tuple(module for root in SOURCE_ROOTS for module in _modules_below(root))


@cache
def modules_of_tests() -> tuple[Module, ...]:
    """Return every Python file below tests/."""
    return tuple(_modules_below("tests"))


def report(findings: list[Finding]) -> str:
    """Return the findings as lines, for an assertion's message."""
    return "\n".join(["", *map(str, findings)])


def _modules_below(folder: str) -> Iterator[Module]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
