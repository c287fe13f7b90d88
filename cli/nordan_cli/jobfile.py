"""Read YAML strictly: what a person wrote is what arrives, or an error says where it is ambiguous.

Used for job documents, policies and worlds. The schema is nearly YAML 1.2's core: `true` and `false` are the only
booleans (so `NO` is Norway and `on` a word), dates stay text, `1:30` is text, no octal by a leading zero. A key
given twice is an error. JSON is read by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nordan_cli.errors import WrongUse

#: Larger than the api accepts (256 KiB); content belongs into files beside the document.
MAX_BYTES = 4 * 1024 * 1024
#: YAML aliases multiply; a document that unfolds to more than this is no job.
MAX_UNFOLDED = 100_000


#: Deeper documents are mistakes, and would overflow the stack of whoever reads them by recursion.
MAX_DEPTH = 100
#: The parser in C where PyYAML was built with it: a hundred times faster, which is what refusing large files takes.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_SafeLoader):  # type: ignore[misc]  # chosen when imported
    """The safe loader with our scalars, without merge keys, and with each key once."""


_StrictLoader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_form})$"), list(_first))


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _fault(key_node, f"the key {key!r} is not text; put it in quotes")
        if key in found:
            raise _fault(key_node, f"the key {key!r} is given twice")
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the one mapping that a file holds.

    Raises:
        WrongUse: the file cannot be read, is not strict YAML, or holds something else; with line and column.
    """
    documents = load_all(path, max_bytes)
    if len(documents) != 1:
        raise WrongUse(f"{path} holds {len(documents)} documents; one is wanted")
    return documents[0]


def load_all(path: Path, max_bytes: int = MAX_BYTES) -> list[dict[str, Any]]:
    """Return the mappings of a file with documents parted by `---`; empty ones are passed over.

    Raises:
        WrongUse: as `load`.
    """
    documents = parse(_read(path, max_bytes), str(path))
    for document in documents:
        if not isinstance(document, dict):
            raise WrongUse(f"{path} holds {_kind(document)} where fields with values are wanted, such as name: digits")
    return documents


def parse(text: str, origin: str) -> list[Any]:
    """Return the documents of a text; `origin` names it in errors.

    Raises:
        WrongUse: the text is not strict YAML.
    """
    try:
        _check_size(text, origin)
        documents = [one for one in yaml.load_all(text, _StrictLoader) if one is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        raise WrongUse(f"{place}: {_reason(error)}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise WrongUse(f"{origin}: not YAML: {error}") from error
    if _count(documents, MAX_UNFOLDED) > MAX_UNFOLDED:
        raise WrongUse(f"{origin}: aliases unfold it to over {MAX_UNFOLDED} values; write it out")
    return documents


def _check_size(text: str, origin: str) -> None:
    """Go through a text without building anything of it, and stop where it is too deep or too long."""
    depth = count = 0
    for event in yaml.parse(text, _StrictLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        count += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise WrongUse(f"{origin}: lists and mappings stand over {MAX_DEPTH} deep in one another")
        if count > MAX_UNFOLDED:
            raise WrongUse(f"{origin}: it holds over {MAX_UNFOLDED} values")


def _read(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise WrongUse(f"{path} is over {max_bytes // 1024} KiB; large values go into files that the job lists")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongUse(f"{path} is not UTF-8 text (byte {error.start})") from error


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "not YAML"
    if isinstance(error, yaml.constructor.ConstructorError) and "could not determine a constructor" in problem:
        return problem.replace("could not determine a constructor for the tag", "no such type of value:")
    return f"{problem} ({error.context})" if error.context else problem


def _count(value: object, limit: int) -> int:
    """Count the values below `value` as JSON would write them, giving up above `limit`."""
    waiting, count = [value], 0
    while waiting and count <= limit:
        one = waiting.pop()
        count += 1
        if isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return count


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "plain text" if isinstance(value, str) else repr(value)
