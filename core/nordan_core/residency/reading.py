"""Strict readers for plain documents (parsed JSON or YAML): each returns a typed value or says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.hints import did_you_mean

LONGEST_LIST = 1000
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
PERCENT_PLACES = 4


def read_mapping(value: object, field: str, known: Collection[str] | None = None) -> Mapping[str, object]:
    """Return `value` as a mapping with text keys, all of them among `known` where that is given."""
    if not isinstance(value, Mapping):
        raise PolicyError(field, f"expected a mapping, found {kind_of(value)}")
    for key in value:
        if not isinstance(key, str):
            raise PolicyError(field, f"the key {key!r} is {kind_of(key)}, not text; write it in quotes")
        if known is not None and key not in known:
            raise PolicyError(f"{field}.{key}".strip("."), f"no such field{did_you_mean(key, known)}")
    return value


def read_list(value: object, field: str) -> Sequence[object]:
    """Return `value` as a list of at most 1000 entries."""
    if not isinstance(value, list | tuple):
        raise PolicyError(field, f"expected a list, found {kind_of(value)}")
    if len(value) > LONGEST_LIST:
        raise PolicyError(field, f"{len(value)} entries, at most {LONGEST_LIST}")
    return value


def read_text(value: object, field: str) -> str:
    """Return `value` as a text that is not empty."""
    if not isinstance(value, str):
        raise PolicyError(field, f"expected text, found {kind_of(value)}")
    if not value:
        raise PolicyError(field, "the text is empty")
    return value


def read_word(value: object, field: str, known: Collection[str]) -> str:
    """Return `value` as one of the known words, exactly as they are written."""
    word = read_text(value, field)
    if word not in known:
        raise PolicyError(field, f"{word!r} is not one of {', '.join(known)}{did_you_mean(word, known)}")
    return word


def read_flag(value: object, field: str) -> bool:
    """Return `value` as true or false."""
    if not isinstance(value, bool):
        raise PolicyError(field, f"expected true or false, found {kind_of(value)}")
    return value


def read_integer(value: object, field: str, *, low: int, high: int) -> int:
    """Return `value` as a whole number within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError(field, f"expected a whole number, found {kind_of(value)}")
    if not low <= value <= high:
        raise PolicyError(field, f"{value} is not within {low} to {high}")
    return value


def read_percent(value: object, field: str) -> Decimal:
    """Return `value` as a percentage, 0 to 100 with at most four decimals; floats are read as they print."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise PolicyError(field, f"expected a percentage, found {kind_of(value)}")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise PolicyError(field, f"{value!r} is not a percentage") from None
    if not amount.is_finite() or not 0 <= amount <= 100:
        raise PolicyError(field, f"{value} is not within 0 to 100")
    if amount != round(amount, PERCENT_PLACES):
        raise PolicyError(field, f"{value} has more than {PERCENT_PLACES} decimals")
    return amount


def read_instant(value: object, field: str) -> datetime:
    """Return `value` as an aware UTC instant; a bare day counts as its first moment in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PolicyError(field, f"{value.isoformat()} has no time zone; write 2027-01-01T00:00:00Z")
        return value.astimezone(UTC)
    text = value.isoformat() if isinstance(value, date) else value
    if not isinstance(text, str):
        raise PolicyError(field, f"expected an instant such as 2027-01-01T00:00:00Z, found {kind_of(value)}")
    if _DAY.fullmatch(text):
        text = f"{text}T00:00:00Z"
    if not _INSTANT.fullmatch(text):
        raise PolicyError(field, f"{text!r} is not an instant with a time zone; write 2027-01-01T00:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PolicyError(field, f"{text!r} is not a date that exists") from None


def print_instant(instant: datetime) -> str:
    """Return the one way to write an instant: UTC with a Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def print_percent(amount: Decimal) -> str:
    """Return the one way to write a percentage: as text, without needless zeros."""
    return format(amount.normalize(), "f")


def kind_of(value: object) -> str:
    """Return what `value` is, in the words of a document."""
    names = {bool: "a truth value", int: "a number", float: "a number", str: "text", type(None): "nothing (null)"}
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return names.get(type(value), type(value).__name__)
