"""Writes docs/reference/cli.md from the commands themselves: `make docs`. A test fails when the page is out of date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from typer.main import get_command

from nordan_cli.main import app
from nordan_cli.verbs import LazyCommand, load

PAGE = Path(__file__).resolve().parent / "reference" / "cli.md"
HEAD = """\
# Command line

`nordan` is a client of the REST interface. `up` and `down` come with the server's packages, everything else works with
`pip install nordan` alone.

- **Where to**: `nordan up` and `nordan login` write address and key into `~/.config/nordan/config.json`. `NORDAN_URL`,
  `NORDAN_KEY` and `NORDAN_PROJECT` win over it, and options win over these. Better no key as an argument: others can
  read the list of processes.
- **Which job**: an id, a unique beginning or end of one, or a name, which means the newest job of that name.
- **What comes out**: a table for people; `-o json` and `-o yaml` print what the server sent.
- **Exit codes**: 0 done, 1 refused or failed, 2 wrong use, 130 after Ctrl-C; the job's own with `--attach`.

This page is made from the commands themselves.
"""
#: Options that every command has, or nearly; told once above.
EVERYWHERE = {"help", "output", "project", "install_completion", "show_completion"}
Command = Any  # Any: Typer's command base is private


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """Return the page as the commands make it."""
    root = get_command(app)
    sections = [section for name, command in _below(root) for section in _sections(f"nordan {name}", command)]
    return "\n".join([HEAD, *sections])


def _sections(name: str, command: Command) -> Iterator[str]:
    if hasattr(command, "list_commands"):
        for word, inner in _below(command):
            yield from _sections(f"{name} {word}", inner)
        if not command.invoke_without_command:
            return
    yield _section(name, command)


def _section(name: str, command: Command) -> str:
    shown = [one for one in command.params if one.name not in EVERYWHERE and not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    words = " ".join([name, *(_shape(one) for one in arguments)])
    lines = [f"## `{words}`", "", _prose(command.help), ""]
    if options:
        lines += ["| option | meaning |", "|---|---|", *(_row(one) for one in options), ""]
    return "\n".join(lines)


def _below(group: Command) -> Iterator[tuple[str, Command]]:
    for word in group.list_commands(None):
        found = group.get_command(None, word)
        # The stand-in in help has no other way to its command.
        yield word, load(found._verb) if isinstance(found, LazyCommand) else found  # noqa: SLF001


def _shape(argument: Command) -> str:
    return str(argument.metavar or argument.name.upper()).replace("|", " or ")


def _row(option: Command) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {_value(option)}"
    needed = " Required." if option.required else ""
    told = f"{option.help or ''}{needed}".strip().replace("|", "\\|")
    return f"| {names}{value} | {told} |"


def _value(option: Command) -> str:
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(member.value) for member in kind)
    return str(option.metavar or option.name.upper())


def _prose(text: str | None) -> str:
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    sys.exit(main())
