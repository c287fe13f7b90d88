"""Request bodies: bounded before they are read, strict JSON, no key twice."""

from __future__ import annotations

import json
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from fastapi import Request
from pydantic import BaseModel, ValidationError

from nordan_core.domain.errors import Invalid, TooLarge

#: The control plane takes documents only; content goes to a region's gateway.
MAX_BODY_BYTES = 256 * 1024
#: Regions report many attempts, with manifests, in one message.
MAX_WORKER_BODY_BYTES = 32 * 1024 * 1024
Model = TypeVar("Model", bound=BaseModel)


def check_address(request: Request) -> None:
    """Refuse a path or a query with a character that no name here has.

    Raises:
        Invalid: it holds what the store cannot keep.
    """
    for field, text in (("path", request.url.path), ("query", unquote_plus(request.url.query))):
        if not is_storable(text):
            raise Invalid(field, "an address may hold neither NUL nor half of a surrogate pair")


async def document(request: Request) -> dict[str, Any]:  # Any: JSON
    """Return the body as a JSON object.

    Raises:
        TooLarge: before reading, when the length says so; while reading, when it did not say.
        Invalid: for anything but one JSON object without a key that stands twice.
    """
    return parse_object(await bounded_body(request, MAX_BODY_BYTES))


async def bounded_body(request: Request, limit: int) -> bytes:
    """Return the body, refusing one over the limit unread."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def parse_object(body: bytes) -> dict[str, Any]:  # Any: JSON
    """Return the JSON object that a body holds; an empty body is an empty object."""
    if not body:
        return {}
    try:
        # Decoded here: given bytes, the parser would guess, and take UTF-16 and half surrogates too.
        value = json.loads(body.decode(), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            "", f"the body is not JSON: {error.msg if isinstance(error, json.JSONDecodeError) else 'not UTF-8'}"
        ) from None
    except RecursionError:
        raise Invalid("", "the body is nested too deeply") from None
    except ValueError:
        raise Invalid("", "the body holds a number of thousands of digits") from None
    if not isinstance(value, dict):
        raise Invalid("", "the body must be a JSON object")
    _check_texts(value)
    return value


def is_storable(text: str) -> bool:
    """Tell whether the store can keep a text: neither NUL nor half of a surrogate pair is in it."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def only(body: dict[str, Any], *known: str) -> None:  # Any: JSON
    """Refuse a body with a field that the route does not know.

    Raises:
        Invalid: names the field and the known ones.
    """
    if unknown := sorted(body.keys() - set(known)):
        raise Invalid(unknown[0], f"no such field; there are {', '.join(known)}")


def read_model(kind: type[Model], value: dict[str, Any]) -> Model:  # Any: JSON
    """Return a checked request model.

    Raises:
        Invalid: for the first fault, with the field's path.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = "no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise Invalid(".".join(str(part) for part in first["loc"]), message) from None


def _check_texts(document: dict[str, Any]) -> None:  # Any: JSON
    found: list[tuple[str, Any]] = [("", document)]
    while found:
        place, value = found.pop()
        if isinstance(value, str) and not is_storable(value):
            raise Invalid(place, "a text may hold neither NUL nor half of a surrogate pair")
        if isinstance(value, dict):
            if not all(map(is_storable, value)):
                raise Invalid(place, "a key may hold neither NUL nor half of a surrogate pair")
            found += [(f"{place}.{key}".lstrip("."), one) for key, one in value.items()]
        elif isinstance(value, list):
            found += [(f"{place}.{number}", one) for number, one in enumerate(value)]


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Invalid(key[:100], "this key stands twice in one object")
        found[key] = value
    return found


def _no_constant(text: str) -> None:
    raise Invalid("", f"{text} is not a number in JSON")
