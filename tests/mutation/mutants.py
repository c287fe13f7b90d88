"""The mutants of a module: each is its syntax tree with one check taken out, turned round or moved by one.

`mutation.run` asks the tests about each. What no judgement can rest on stays as it is: annotations, decorators, the
texts of messages, and `strict` of a `zip`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Swap = dict[type[ast.AST], type[ast.AST]]
INVERSE: Swap = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
MOVED: Swap = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPERATORS: Swap = {
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
LONGEST_PART = 90

Change = Callable[[Any], ast.AST | None]
"""Changes a node in place, or returns the node that takes its place."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One module with one change."""

    name: str
    """Module, function, and what became what: the same for as long as that code is the same."""
    path: Path
    function: str
    """Qualified name of the outermost function or method; empty at the level of the module."""
    place: int
    """Of the node that is changed, among all that count."""
    change: Change

    @property
    def module(self) -> str:
        """Return the name of the module."""
        return self.path.stem

    def tree(self) -> ast.Module:
        """Return the changed module."""
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        node = next(one for number, (one, _) in enumerate(_nodes(tree)) if number == self.place)
        instead = self.change(node)
        if instead is not None:
            _replace(tree, node, instead)
        return ast.fix_missing_locations(tree)


def mutants_of(path: Path) -> list[Mutant]:
    """Return every mutant of a file, from top to bottom."""
    seen = Counter[str]()
    found = []
    for place, (node, function) in enumerate(_nodes(ast.parse(path.read_text(encoding="utf-8")))):
        for change in _changes(node):
            name = f"{path.stem} {function or '(module)'}: {_said(node, change)}"
            seen[name] += 1
            number = f" #{seen[name]}" if seen[name] > 1 else ""
            found.append(Mutant(name + number, path, function, place, change))
    return found


def _said(node: ast.AST, change: Change) -> str:
    copied = deepcopy(node)
    instead = change(copied)
    after = "(nothing)" if isinstance(instead, ast.Pass) else _short(ast.fix_missing_locations(instead or copied))
    gone = [_short(one) for one in _parts(node) if ast.dump(one) not in {ast.dump(left) for left in _parts(copied)}]
    return f"{_short(node)} without {', '.join(gone)}" if gone else f"{_short(node)} -> {after}"


def _parts(node: ast.AST) -> list[ast.expr]:
    """Return the elements of a tuple, list, set or mapping, of which a change takes one out."""
    if isinstance(node, ast.Dict):
        return [key or value for key, value in zip(node.keys, node.values, strict=True)]
    return node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []


def _replace(tree: ast.Module, node: ast.AST, instead: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, instead)
            elif isinstance(value, list):
                setattr(parent, name, [instead if one is node else one for one in value])


def _short(node: ast.AST) -> str:
    if isinstance(node, ast.comprehension):
        text = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}" + "".join(
            f" if {ast.unparse(test)}" for test in node.ifs
        )
    elif isinstance(node, ast.If):
        text = f"if {ast.unparse(node.test)}"
    else:
        text = ast.unparse(node)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_PART else f"{text[: LONGEST_PART - 1]}…"


def _nodes(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every node that counts, each with the function that it is in, always in the same order."""
    yield from _below(tree, (), in_function=False)


def _below(node: ast.AST, path: tuple[str, ...], *, in_function: bool) -> Iterator[tuple[ast.AST, str]]:
    yield node, ".".join(path) if in_function else ""
    is_named = isinstance(node, ast.ClassDef | ast.FunctionDef)
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and not in_function:
        path, in_function = (*path, node.name), isinstance(node, ast.FunctionDef)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or (is_named and name in ("decorator_list", "bases", "keywords")):
            continue
        if isinstance(node, ast.Subscript) and name == "slice" and not in_function:
            continue  # a type
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_beside_the_point(child):
                yield from _below(child, path, in_function=in_function)


def _is_beside_the_point(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("__all__", "__slots__")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("field", "NewType", "TypeVar")
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict")


# --- What can be changed about a node.


def _changes(node: ast.AST) -> Iterator[Change]:
    for kind, changes in _KINDS.items():
        if isinstance(node, kind):
            yield from changes(node)


def _of_comparison(node: ast.Compare) -> Iterator[Change]:
    for place, operator in enumerate(node.ops):
        for swap in (INVERSE, MOVED):
            if type(operator) in swap:
                yield _in_list("ops", place, swap[type(operator)]())


def _of_and_or(node: ast.BoolOp) -> Iterator[Change]:
    yield _set("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    yield from (_without("values", place) for place in range(len(node.values)))


def _of_not(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield lambda one: ast.Call(ast.Name("bool", ast.Load()), [one.operand], [])


def _of_operation(node: ast.BinOp) -> Iterator[Change]:
    if type(node.op) in OPERATORS:
        yield _set("op", OPERATORS[type(node.op)]())


def _of_call(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        yield _set("func", ast.Name(FUNCTIONS[node.func.id], ast.Load()))


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield _set("value", not node.value)
    elif isinstance(node.value, int):
        yield _set("value", node.value + 1)


def _of_comprehension(node: ast.comprehension) -> Iterator[Change]:
    yield from (_without("ifs", place) for place in range(len(node.ifs)))


def _of_branch(_node: ast.If) -> Iterator[Change]:
    yield _set("test", ast.Constant(False))
    yield _set("test", ast.Constant(True))


def _of_choice(_node: ast.IfExp) -> Iterator[Change]:
    yield lambda one: one.body
    yield lambda one: one.orelse


def _of_elements(node: ast.Tuple | ast.List | ast.Set) -> Iterator[Change]:
    is_read = isinstance(node, ast.Set) or isinstance(node.ctx, ast.Load)
    yield from (_without("elts", place) for place in range(len(node.elts)) if is_read)


def _of_entries(node: ast.Dict) -> Iterator[Change]:
    yield from (_without_entry(place) for place in range(len(node.keys)))


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    is_act = isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield | ast.YieldFrom | ast.Call)
    if is_act or isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield lambda one: ast.copy_location(ast.Pass(), one)


_KINDS: dict[Any, Callable[[Any], Iterator[Change]]] = {
    ast.Compare: _of_comparison,
    ast.BoolOp: _of_and_or,
    ast.UnaryOp: _of_not,
    ast.BinOp: _of_operation,
    ast.Call: _of_call,
    ast.Constant: _of_constant,
    ast.comprehension: _of_comprehension,
    ast.If: _of_branch,
    ast.IfExp: _of_choice,
    ast.Tuple | ast.List | ast.Set: _of_elements,
    ast.Dict: _of_entries,
    ast.stmt: _of_statement,
}


def _set(name: str, value: object) -> Change:
    return lambda node: setattr(node, name, value)


def _in_list(name: str, place: int, value: ast.AST) -> Change:
    return lambda node: getattr(node, name).__setitem__(place, value)


def _without(name: str, place: int) -> Change:
    def change(node: Any) -> ast.AST | None:
        del getattr(node, name)[place]
        # `and` of one part is that part.
        return node.values[0] if isinstance(node, ast.BoolOp) and len(node.values) == 1 else None

    return change


def _without_entry(place: int) -> Change:
    def change(node: ast.Dict) -> None:
        del node.keys[place], node.values[place]

    return change
