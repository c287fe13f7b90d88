"""The page about what crosses borders names every field that is sent, logged or counted, each with a class."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pydantic import BaseModel

from nordan_core import queue, wire
from support.pages import ROOT, page

PAGE = page("docs/reference/borders.md")
CLASSES = {"handle", "capacity", "account", "description", "content"}
PROCESSES = ("api", "scheduler", "workers", "core")
_CODE = re.compile(r"`([^`]+)`")
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "bind"}


def section(title: str) -> str:
    return PAGE.text.split(f"## {title}")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def sources() -> Iterator[ast.Module]:
    for process in PROCESSES:
        for path in sorted((ROOT / process).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def logged() -> set[str]:
    """Return the names of all fields that a log call of ours gives."""
    calls = (node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        keyword.arg
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in _LEVELS
        and "log" in ast.unparse(call.func.value).lower()
        for keyword in call.keywords
        if keyword.arg
    }


def test_every_field_of_every_message_has_a_class() -> None:
    models = {name: one for name, one in vars(wire).items() if isinstance(one, type) and issubclass(one, BaseModel)}
    sent = {
        (name, field) for name, one in models.items() if one.__module__ == wire.__name__ for field in one.model_fields
    }
    shown: list[tuple[str, str]] = []
    for message, _, class_, fields in rows("Between control plane and regions, and to clients"):
        assert class_ in CLASSES - {"content"}, f"{message} sends {class_}"
        shown += [(message.strip("`"), field) for field in _CODE.findall(fields)]
    assert len(set(shown)) == len(shown)
    assert set(shown) == sent


def test_a_broker_is_told_what_the_page_says() -> None:
    assert rows("Brokers") == [[f"`{queue.TASK}`", "handle", "`grant_ids`"]]


def test_every_field_of_every_log_line_has_a_class() -> None:
    found = rows("Logs of our processes")
    assert {class_ for class_, _ in found} == {"handle", "capacity"}, "nothing else may be logged"
    shown = [field for _, fields in found for field in _CODE.findall(fields)]
    assert len(set(shown)) == len(shown)
    assert set(shown) == logged()


def test_every_metric_has_a_class() -> None:
    constructed = {
        str(node.args[0].value)
        for tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"Counter", "Gauge", "Histogram"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
    shown = {name for names, class_, _ in rows("Metrics") for name in _CODE.findall(names) if class_ == "capacity"}
    assert constructed
    assert shown == constructed


def test_the_members_of_a_problem_are_on_the_page() -> None:
    text = (ROOT / "api/nordan_api/errors.py").read_text(encoding="utf-8")
    shown = {name for _, names in rows("Errors") for name in _CODE.findall(names)}
    written = set(re.findall(r'^        "([a-z_]+)":', text, re.MULTILINE))
    assert written - shown == set()
