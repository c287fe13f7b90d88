"""The rules that import contracts and ruff cannot see, each a function from modules to findings.

`test_rules.py` runs each on the source, and on a snippet that breaks it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator

from architecture.source_tree import Finding, Module

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Rule = Callable[[Iterable[Module]], list[Finding]]

STORE = "core/nordan_core/store/"
UNIT_OF_WORK = STORE + "unit_of_work.py"
MIGRATIONS = STORE + "migrations/"
WITH_DATABASE = ("core/", "api/", "scheduler/")
PURE = ("core/nordan_core/domain/", "core/nordan_core/residency/", "scheduler/nordan_scheduler/engine/")
DOCUMENTED = ("core/nordan_core/residency/", "scheduler/nordan_scheduler/engine/")
LONGEST_MODULE = 500
LONGEST_FUNCTION = 50
MOST_POSITIONAL = 5

#: What pure code may take from the standard library: values and arithmetic, nothing that acts.
PURE_STDLIB = frozenset(
    {
        *("__future__", "abc", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum"),
        *("fractions", "functools", "hashlib", "heapq", "importlib", "itertools", "json", "math"),
        *("numbers", "operator", "re", "string", "types", "typing", "unicodedata", "zlib"),
    }
)
#: And what else, by folder.
PURE_EXTRA = {
    "core/nordan_core/domain/": frozenset({"nordan_core.domain"}),
    "core/nordan_core/residency/": frozenset({"nordan_core.domain", "nordan_core.residency"}),
    "scheduler/nordan_scheduler/engine/": frozenset({"nordan_core.domain", "nordan_scheduler.engine", "numpy"}),
}
IMPURE_NUMPY = "numpy.random"
QUERY_NAMES = frozenset({"select", "insert", "update", "delete", "text"})
SQL_MODULES = ("sqlmodel", "sqlalchemy")
SENDERS = frozenset({"send_task", "apply_async", "delay"})
CLOCK_READS = frozenset({"now", "utcnow", "today"})


def commits_only_in_unit_of_work(modules: Iterable[Module]) -> list[Finding]:
    """The unit of work commits; nothing else does (migrations run in Alembic's own transaction).

    Workers and the CLI are left out: a contract keeps every database from them, and their uploads commit, too.
    """
    return [
        Finding(module.path, node.lineno, "only the unit of work commits")
        for module in modules
        if module.path.startswith(WITH_DATABASE)
        and module.path != UNIT_OF_WORK
        and not module.path.startswith(MIGRATIONS)
        for node in _calls(module)
        if isinstance(node.func, ast.Attribute)
        and node.func.attr == "commit"
        and not module.allows("commit", node.lineno)
    ]


def queries_only_in_store(modules: Iterable[Module]) -> list[Finding]:
    """SQL is built in the store: a name of SQLModel or SQLAlchemy that makes a statement stays there."""
    return [
        Finding(module.path, _line(node), f"{name} builds SQL outside {STORE}")
        for module in modules
        if not module.path.startswith((STORE, "tests/"))
        for node in ast.walk(module.tree)
        for name in _imported_queries(node)
        if not module.allows("query", _line(node))
    ]


def public_functions_documented(modules: Iterable[Module]) -> list[Finding]:
    """Every public function, method and class of the engine and of residency has a docstring."""
    return [
        Finding(module.path, _line(node), f"{node.name} has no docstring")
        for module in modules
        if module.path.startswith(DOCUMENTED)
        for node in _public_definitions(module.tree)
        if ast.get_docstring(node) is None and not module.allows("undocumented", _line(node))
    ]


def modules_documented(modules: Iterable[Module]) -> list[Finding]:
    """Every module opens with why it exists."""
    return [
        Finding(module.path, 1, "the module has no docstring")
        for module in modules
        if module.text.strip() and not module.path.startswith("tests/") and ast.get_docstring(module.tree) is None
    ]


def modules_short(modules: Iterable[Module]) -> list[Finding]:
    """No module is over 500 lines."""
    return [
        Finding(module.path, len(module.lines), f"{len(module.lines)} lines, at most {LONGEST_MODULE}")
        for module in modules
        if len(module.lines) > LONGEST_MODULE and not module.allows("long-module", 1)
    ]


def functions_short(modules: Iterable[Module]) -> list[Finding]:
    """No function is over 50 lines."""
    return [
        Finding(module.path, node.lineno, f"{node.name} has {length} lines, at most {LONGEST_FUNCTION}")
        for module in modules
        if not module.path.startswith((MIGRATIONS, "tests/"))
        for node in _functions(module)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
        and not module.allows("long-function", node.lineno)
    ]


def few_positional_parameters(modules: Iterable[Module]) -> list[Finding]:
    """At most five positional parameters, `self` and `cls` left out; the rest are keyword-only."""
    return [
        Finding(module.path, node.lineno, f"{node.name} takes {count} positional parameters")
        for module in modules
        if not module.path.startswith("tests/")
        for node in _functions(module)
        if (count := _positional(node)) > MOST_POSITIONAL and not module.allows("parameters", node.lineno)
    ]


def pure_code_imports_values_only(modules: Iterable[Module]) -> list[Finding]:
    """Domain, residency and engine import values only, from a list, so that news is a finding."""
    return [
        Finding(module.path, _line(node), f"pure code imports {name}")
        for module in modules
        for folder in PURE
        if module.path.startswith(folder)
        for node in ast.walk(module.tree)
        for name in _imported_modules(node)
        if not _is_pure(name, PURE_EXTRA[folder]) and not module.allows("pure-import", _line(node))
    ]


def pure_code_reads_no_clock(modules: Iterable[Module]) -> list[Finding]:
    """The instant is an argument: no `datetime.now()` in pure code, and no file is opened."""
    return [
        Finding(module.path, node.lineno, f"pure code calls {ast.unparse(node.func)}")
        for module in modules
        if module.path.startswith(PURE)
        for node in _calls(module)
        if _acts(node.func) and not module.allows("pure-call", node.lineno)
    ]


def broker_carries_grant_ids_only(modules: Iterable[Module]) -> list[Finding]:
    """A Celery task takes `*grant_ids` and nothing else; and messages are sent in `nordan_core/queue.py` alone."""
    modules = list(modules)
    return [*_tasks_with_other_arguments(modules), *_messages_sent_elsewhere(modules)]


def folders_of_tests_have_no_init(modules: Iterable[Module]) -> list[Finding]:
    """Tests are collected by path: an `__init__.py` would give two files of one name the same module."""
    return [
        Finding(module.path, 1, "test folders have no __init__.py")
        for module in modules
        if module.path.startswith("tests/") and module.path.endswith("/__init__.py")
    ]


def _tasks_with_other_arguments(modules: list[Module]) -> Iterator[Finding]:
    for module in modules:
        if module.path.startswith("tests/"):
            continue
        for node in _functions(module):
            taken = (*node.args.args, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg)
            names = [argument.arg for argument in taken if argument is not None and argument.arg != "self"]
            if _is_task(node) and names != ["grant_ids"] and not module.allows("task", node.lineno):
                yield Finding(module.path, node.lineno, f"a task takes grant_ids alone, not {names}")


def _messages_sent_elsewhere(modules: list[Module]) -> Iterator[Finding]:
    for module in modules:
        if module.path == "core/nordan_core/queue.py" or module.path.startswith("tests/"):
            continue
        for node in _calls(module):
            is_sent = isinstance(node.func, ast.Attribute) and node.func.attr in {
                "send_task",
                "apply_async",
                "delay",
            }
            if is_sent and not module.allows("message", node.lineno):
                yield Finding(module.path, node.lineno, "messages are sent by nordan_core.queue.nudge alone")


def _is_task(node: Function) -> bool:
    targets = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    return any(
        (isinstance(one, ast.Attribute) and one.attr == "task")
        or (isinstance(one, ast.Name) and one.id == "shared_task")
        for one in targets
    )


def _acts(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in {"open", "print", "input"}
    return isinstance(function, ast.Attribute) and function.attr in CLOCK_READS


def _is_pure(name: str, extra: frozenset[str]) -> bool:
    if name.startswith(IMPURE_NUMPY):
        return False
    return name.split(".", maxsplit=1)[0] in PURE_STDLIB or any(
        name == one or name.startswith(one + ".") for one in extra
    )


def _imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        # `from numpy import random` names a module as well.
        return [f"{base}.{alias.name}" if base == "numpy" else base for alias in node.names]
    return []


def _imported_queries(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in SQL_MODULES:
        return [alias.name for alias in node.names if alias.name in QUERY_NAMES]
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] in SQL_MODULES]
    return []


def _public_definitions(tree: ast.Module) -> Iterator[Definition]:
    for node in _public(tree.body):
        yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node.body)


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    return (node for node in body if isinstance(node, Definition) and not node.name.startswith("_"))


def _functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _positional(node: Function) -> int:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))
