"""Read a JSON answer into a frozen dataclass: the fields that we need, checked; all others passed over.

Used for every answer that a command looks into. Not pydantic: importing that takes longer than asking the server,
and a client checks little: it must survive newer fields, not judge them.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from nordan_cli.errors import Unreadable

T = TypeVar("T")


def decode(shape: type[T], value: object) -> T:
    """Return `value` as the dataclass `shape`; absent fields take their defaults, null ones too where they have any.

    Raises:
        Unreadable: a field without default is absent, or a value has another type.
    """
    decoded: T = _dataclass(shape, value, shape.__name__.lower())
    return decoded


def decode_items(shape: type[T], answer: object) -> tuple[T, ...]:
    """Return the `items` of a list answer (or a bare list) as dataclasses, in the server's order."""
    items = answer.get("items") if isinstance(answer, Mapping) else answer
    if not isinstance(items, list):
        raise Unreadable("items", "is not a list")
    return tuple(decode(shape, item) for item in items)


def _dataclass(shape: Any, value: object, where: str) -> Any:  # Any: built from the shape's own hints
    if not isinstance(value, Mapping):
        raise Unreadable(where, f"is {_kind(value)} and not an object")
    taken: dict[str, Any] = {}
    for name, hint, has_default in _plan(shape):
        given = value.get(name)
        if given is None and has_default:
            continue
        taken[name] = _value(hint, given, f"{where}.{name}")
    return shape(**taken)


@cache
def _plan(shape: Any) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(shape)
    missing = dataclasses.MISSING
    return tuple(
        (field.name, hints[field.name], field.default is not missing or field.default_factory is not missing)
        for field in dataclasses.fields(shape)
    )


def _value(hint: Any, value: object, where: str) -> Any:  # Any: a hint is any typing form
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(part for part in get_args(hint) if part is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is tuple:
        return _tuple(get_args(hint)[0], value, where)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(hint)[1], value, where)
    return _scalar(hint, value, where)


def _tuple(hint: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Unreadable(where, f"is {_kind(value)} and not a list")
    return tuple(_value(hint, item, f"{where}.{place}") for place, item in enumerate(value))


def _mapping(hint: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unreadable(where, f"is {_kind(value)} and not an object")
    return {str(name): _value(hint, item, f"{where}.{name}") for name, item in value.items()}


def _scalar(hint: Any, value: object, where: str) -> Any:
    if hint is object:
        return value
    if hint is datetime:
        return _instant(value, where)
    if hint is float and isinstance(value, str):  # amounts of money come as decimal text
        return _number(value, where)
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise Unreadable(where, f"is {_kind(value)} and not {hint.__name__}")
    return value


def _number(value: str, where: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise Unreadable(where, f"is {value!r} and not a number") from error


def _instant(value: object, where: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError as error:
        raise Unreadable(where, f"is {value!r} and not an instant") from error
    if instant is None or instant.tzinfo is None:
        raise Unreadable(where, f"is {value!r} and not an instant with its zone")
    return instant


def _kind(value: object) -> str:
    return "absent" if value is None else type(value).__name__
