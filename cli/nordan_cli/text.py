"""Values of documents as words on one line; no packages, since errors are printed with it too."""

from __future__ import annotations

from collections.abc import Mapping

_EMPTY: tuple[object, ...] = (None, "", [], {})


def plain(value: object) -> str:
    """Return any value of a document on one line; an empty list is `none`, empty members are left out."""
    if isinstance(value, Mapping):
        if set(value) == {"all_of"}:
            return " and ".join(f"({one})" if "," in one else one for one in map(plain, value["all_of"]))
        if isinstance(value.get("sentence"), str):
            return str(value["sentence"])  # the server's own words for the rest of it
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items() if part not in _EMPTY)
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(one, Mapping) for one in value) else ", ").join(map(plain, value)) or "none"
    return "" if value is None else str(value)
