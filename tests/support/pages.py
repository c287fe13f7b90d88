"""Reads the Markdown pages for the tests of the docs: fenced blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(nordan [^`\n]+)`")
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
_ROW_CODE = re.compile(r"^\| `(?P<code>[^`|]+)`(?:, `(?P<more>[^`|]+)`)? \|", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ```info … ```."""

    page: str
    line: int
    info: str
    body: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Return the path below the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        """Return the whole text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """Return the text without fenced blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self, info: str) -> Iterator[Block]:
        """Yield the fenced blocks whose info string is `info`."""
        for match in _FENCE.finditer(self.text):
            if match["info"].strip() == info:
                line = self.text.count("\n", 0, match.start()) + 1
                yield Block(self.name, line, info, match["body"])

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each `nordan …` command shown: in `sh` and `console` blocks, and inline."""
        for block in [*self.blocks("sh"), *self.blocks("console")]:
            for line in block.body.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ")
                if words.startswith("nordan "):
                    yield _words(words)
        for match in _INLINE.finditer(self.prose):
            yield _words(match[1])

    def links(self) -> Iterator[str]:
        """Yield the targets of links to files of the repository."""
        for match in _LINK.finditer(self.prose):
            if not re.match(r"[a-z]+:", match["target"]):
                yield match["target"]

    def headings(self) -> list[str]:
        """Return the headings' texts in order."""
        return [match["text"] for match in _HEADING.finditer(self.prose)]

    def codes_in_tables(self) -> list[str]:
        """Return the codes in the first column of all tables."""
        return [code for match in _ROW_CODE.finditer(self.prose) for code in match.groups() if code]


def pages() -> list[Page]:
    """Return the README and its neighbours, and every page below docs/."""
    return [Page(path) for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]]


def page(name: str) -> Page:
    """Return the page at a path below the repository."""
    return Page(ROOT / name)


def _words(line: str) -> list[str]:
    # A comment, a pipe or a redirection ends the command as far as its words matter.
    return shlex.split(re.split(r"\s(?:[|>&;]|2>)", line)[0], comments=True)
