"""Turn answers into text: tables for people, JSON or YAML of what the server sent for programs.

Commands call `show`; colours and widths follow the terminal, and a pipe gets whole lines without colours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Wide enough that a pipe never cuts a line.
_PIPE_WIDTH = 10_000
_STYLES = {
    "succeeded": "green",
    "running": "green",
    "allowed": "green",
    "verified": "green",
    "failed": "red",
    "refused": "red",
    "fenced": "red",
    "lost": "red",
    "queued": "yellow",
    "recovering": "yellow",
    "held": "yellow",
    "cancelled": "dim",
}


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Output = Annotated[Format, typer.Option("-o", "--format", help="How to print the answer.")]


def show(answer: object, form: Format, draw: Callable[[], str]) -> None:
    """Print the server's answer as it came, or the text that `draw` makes of it."""
    typer.echo(printed(answer, form, draw))


def printed(answer: object, form: Format, draw: Callable[[], str]) -> str:
    """Return what `show` prints, without a newline at the end."""
    if form is Format.JSON:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    if form is Format.YAML:
        import yaml  # noqa: PLC0415  only for this form

        text: str = yaml.safe_dump(answer, sort_keys=False, allow_unicode=True)
        return text.rstrip("\n")
    return draw()


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns under titles; None is an empty cell, states have colours."""
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for title in titles:
        grid.add_column(title.upper(), no_wrap=False, overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    return _text(grid)


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Return one line per name and value; values that are empty are left out."""
    grid = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", (), [], {}):
            grid.add_row(Text(name), _cell(value))
    return _text(grid)


def sections(*parts: tuple[str, str]) -> str:
    """Return texts under headings; an empty text takes its heading with it."""
    blocks = []
    for heading, text in parts:
        if text:
            blocks.append(f"{typer.style(heading, bold=True)}\n{text}" if heading else text)
    return "\n\n".join(blocks)


def ago(instant: datetime | None, now: datetime) -> str:
    """Return how long ago an instant was, or how far ahead it is: `3m ago`, `in 2h`."""
    if instant is None:
        return ""
    seconds = (now - instant).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: `12s`, `4m 10s`, `3h 5m`, `2d 1h`."""
    whole = int(seconds)
    units = (("d", whole // 86400), ("h", whole // 3600 % 24), ("m", whole // 60 % 60), ("s", whole % 60))
    used = [f"{count}{unit}" for unit, count in units]
    first = next((place for place, (_, count) in enumerate(units) if count), 3)
    return " ".join(part for part in used[first : first + 2] if not part.startswith("0") or first == 3)


def eur(amount: float | None) -> str:
    """Return an amount of money with as many decimals as it needs to be seen."""
    if amount is None:
        return ""
    return f"{amount:.2f} EUR" if amount == 0 or abs(amount) >= 1 else f"{amount:.6f}".rstrip("0").rstrip(".") + " EUR"


def size(count: int | None) -> str:
    """Return a number of bytes in binary units."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _cell(value: object) -> Text:
    text = ", ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    return Text(text, style=_STYLES.get(text, ""))


def _text(grid: Table) -> str:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH, force_terminal=False, no_color=True)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))
