"""What an error of the server tells people to run is a command that there is."""

from __future__ import annotations

import re
from pathlib import Path

from support.pages import page

ROOT = Path(__file__).parents[2]
#: Words up to the first that is no command's: an option, a place in capitals, a value put in.
HINT = re.compile(r"`nordan((?: [a-z]+)+)(?= [^a-z`]|`)")
HEADING = re.compile(r"^## `nordan ([a-z]+(?: [a-z]+)*)", re.MULTILINE)


def hints() -> list[tuple[str, str]]:
    """Return file and words of every hint in the api's and the core's sources."""
    files = sorted([*(ROOT / "api").rglob("*.py"), *(ROOT / "core").rglob("*.py")])
    return [(file.name, match[1].strip()) for file in files for match in HINT.finditer(file.read_text())]


def test_every_command_that_the_server_speaks_of_exists() -> None:
    """A command or a group of them, as the page of the command line has it."""
    commands = set(HEADING.findall(page("docs/reference/cli.md").text))
    assert len(commands) > 20
    commands |= {one.rpartition(" ")[0] for one in commands}
    assert len(hints()) > 3
    assert [(file, words) for file, words in hints() if words not in commands] == []
