"""Make a job document out of a file, flags and a command line.

Used by `submit` and `plan`. Flags win over the file. What the document means is the server's business: nothing is
checked here but what only this side can know, the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

from nordan_cli import jobfile, localfiles
from nordan_cli.errors import FieldFault, Problem, WrongUse
from nordan_cli.localfiles import LocalFiles

#: The fields of a job document, for suggestions; the server has the last word.
FIELDS = (
    *("name", "kind", "image", "command", "files", "env", "nodes", "resources", "inputs", "outputs", "policy"),
    *("objective", "max_price", "max_duration", "max_wait", "grace", "retry", "preemptible", "priority", "port"),
    "readiness",
)
_RESOURCES = ("gpu", "cpu", "memory")


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line said; None and empty mean unsaid."""

    fields: dict[str, object] = field(default_factory=dict)
    """Plain fields by their name in the document."""
    resources: dict[str, object] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    """`NAME=VALUE`."""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    add_files: tuple[str, ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A document ready to be sent, and the files that it names."""

    document: dict[str, Any]
    files: LocalFiles


def draft(source: Path | None, flags: Flags) -> Draft:
    """Return the document of a file with flags put over it, its files digested.

    Raises:
        WrongUse: no command is known, an assignment is malformed, or a file is missing.
    """
    document = jobfile.load(source) if source else {}
    document.update({name: value for name, value in flags.fields.items() if value is not None})
    _merge(document, "resources", {name: value for name, value in flags.resources.items() if value is not None})
    _merge(document, "env", dict(_assignment(one) for one in flags.env))
    _merge(document, "policy", flags.policy)
    _extend(document, "inputs", [one if "/" in one else f"dataset/{one}" for one in flags.inputs])
    _extend(document, "outputs", list(flags.outputs))
    if flags.command:
        document["command"] = list(flags.command)
    if not document.get("command"):
        raise WrongUse("the job has no command; give one after --, or a document with -f FILE")
    document.setdefault("name", _name_after(document["command"]))
    return _with_files(document, source, flags.add_files)


def suggest(problem: Problem) -> Problem:
    """Return the problem with a near name added to each field that the server does not know."""
    faults = tuple(FieldFault(fault.field, fault.message + _near(fault)) for fault in problem.faults)
    problem.faults = faults
    return problem


def _with_files(document: dict[str, Any], source: Path | None, added: tuple[str, ...]) -> Draft:
    given = document.get("files", [])
    if isinstance(given, dict):  # a manifest with digests: its bytes are in the regions already
        if added:
            raise WrongUse("the document lists digests under files; --add-file cannot add to them")
        return Draft(document, LocalFiles(()))
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise WrongUse("files: expected a list of paths, such as files: [train.py]")
    files = _joined(localfiles.listed(given, source.parent if source else Path()), localfiles.listed(added, Path()))
    if files.files:
        document["files"] = files.document()
    else:
        document.pop("files", None)
    return Draft(document, files)


def _joined(first: LocalFiles, second: LocalFiles) -> LocalFiles:
    merged = {file.entry.path: file for file in (*first.files, *second.files)}
    return LocalFiles(tuple(merged[path] for path in sorted(merged)))


def _merge(document: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    if not values:
        return
    given = document.get(name, {})
    if not isinstance(given, dict):
        raise WrongUse(f"{name}: expected fields with values")
    document[name] = {**given, **values}


def _extend(document: dict[str, Any], name: str, values: list[str]) -> None:
    if not values:
        return
    given = document.get(name, [])
    if not isinstance(given, list):
        raise WrongUse(f"{name}: expected a list")
    document[name] = [*given, *(value for value in values if value not in given)]


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise WrongUse(f"--env {text!r}: write NAME=VALUE")
    return name, value


def _name_after(command: object) -> str:
    """Make a legal name of the program's: `./Train_v2.py` gives `train-v2`."""
    first = str(command[0]) if isinstance(command, list) and command else ""
    return re.sub(r"[^a-z0-9]+", "-", PurePath(first).stem.lower()).strip("-")[:63].rstrip("-") or "job"


def _near(fault: FieldFault) -> str:
    path, _, last = fault.field.rpartition(".")
    known = {"": FIELDS, "resources": _RESOURCES, "retry": ("limit", "on"), "readiness": ("path",)}.get(path, ())
    if "no such field" not in fault.message or "did you mean" in fault.message or last in known:
        return ""
    near = get_close_matches(last, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
