"""Rules of admission as values, and the few shapes of CEL that they are written in.

An expression that fails while it is evaluated refuses with a text that names no rule, so every step into an optional
field is written with `.?` and a default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: A JSON object as the API server takes it.
Object = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold of an object, and what its author is told when it does not."""

    name: str
    holds: str
    """A CEL expression."""
    says: str
    """What is refused and what would be right."""

    @property
    def message(self) -> str:
        """Return the text of the refusal, which begins with the rule's name."""
        return f"nordan/{self.name}: {self.says}"

    def unless(self, excuse: str) -> Rule:
        """Return the rule with an expression that lets an object pass without it."""
        return Rule(self.name, f"{excuse} || ({self.holds})", self.says)

    def validation(self) -> Object:
        """Return the rule as a policy holds it."""
        return {"expression": self.holds, "message": self.message, "reason": "Forbidden"}


def text(value: str) -> str:
    """Return a CEL string."""
    return json.dumps(value)


def texts(values: Iterable[str]) -> str:
    """Return a CEL list of strings."""
    return f"[{', '.join(map(text, values))}]"


def entry(owner: str, field: str, key: str) -> str:
    """Return one value of a map that may be absent, or empty text."""
    return f'{owner}.?{field}[?{text(key)}].orValue("")'


def entries(owner: str, field: str) -> str:
    """Return a map or list that may be absent."""
    empty = "{}" if field in {"labels", "annotations", "nodeSelector"} else "[]"
    return f"{owner}.?{field}.orValue({empty})"


def is_same_below(prefix: str, new: str, old: str) -> str:
    """Return a claim that two maps agree in every key that begins with `prefix`."""
    begins = f"k.startsWith({text(prefix)})"
    return f"{new}.all(k, !{begins} || (k in {old} && {old}[k] == {new}[k])) && {old}.all(k, !{begins} || k in {new})"
