"""Every example in the docs is accepted by what it is an example for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

from nordan_cli import jobfile
from nordan_cli.main import app
from nordan_cli.verbs import LazyCommand, load
from nordan_core.atlas.loader import default_atlas
from nordan_core.documents import parse_job
from nordan_core.domain.jobs import JobSpec
from nordan_core.residency.declassification import parse_declassification
from nordan_core.residency.derogations import parse_derogation
from nordan_core.residency.policy import parse_policy
from support.pages import ROOT, Block, Page, pages

#: Commands that a package other than the CLI brings as an entry point are looked up like the CLI's own.
HELP = ("-h", "--help")
COMMANDS = typer.main.get_command(app)


def blocks(info: str) -> list[Block]:
    return [block for page in pages() for block in page.blocks(info)]


def at(block: Block) -> str:
    return f"{block.page}:{block.line}"


def document_in(block: Block) -> Mapping[str, Any]:  # Any: the parser under test checks it
    (document,) = jobfile.parse(block.body, block.page)
    assert isinstance(document, dict)
    return document


def job_of(document: Mapping[str, object]) -> JobSpec:
    # In a person's file `files` are paths; the CLI sends a manifest of what it put through a gateway.
    paths = document.get("files", [])
    assert isinstance(paths, list)
    files = [{"path": str(path), "digest": "0" * 64, "size_bytes": 1} for path in paths]
    return parse_job({**document, "files": {"files": files}})


@pytest.mark.parametrize("block", blocks("yaml job"), ids=at)
def test_a_job_document_shown_is_valid(block: Block) -> None:
    spec = job_of(document_in(block))
    parse_policy(spec.policy, default_atlas())


@pytest.mark.parametrize("block", blocks("yaml policy"), ids=at)
def test_a_policy_shown_is_valid(block: Block) -> None:
    parse_policy(document_in(block), default_atlas())


@pytest.mark.parametrize("block", blocks("yaml derogation"), ids=at)
def test_a_derogation_shown_can_be_asked_for(block: Block) -> None:
    now = datetime(2026, 12, 20, tzinfo=UTC)
    given = {"id": "drg_x", "project": "prj_x", "requested_by": "key_x", "not_before": now.isoformat()}
    assert parse_derogation({**given, **document_in(block)}, default_atlas()).holds_at(now)


@pytest.mark.parametrize("block", blocks("yaml declassification"), ids=at)
def test_a_declassification_shown_can_be_asked_for(block: Block) -> None:
    asked = dict(document_in(block))
    given = {"id": "dcl_x", "project": "prj_x", "artifact": "art_x", "bytes": "0" * 64, "requested_by": "key_x"}
    born = {"residency": ["FR"], "class": "confidential"}
    parse_declassification({**given, "from": born, "to": asked.pop("policy"), **asked}, default_atlas())


def test_no_yaml_is_shown_without_saying_what_it_is() -> None:
    assert [at(block) for block in blocks("yaml")] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_command_shown_exists(page: Page) -> None:
    faults = [f"{' '.join(words)}: {fault}" for words in page.commands() if (fault := fault_of(words))]
    assert faults == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert fault_of(["nordan", "fly"]) == "no command fly"
    assert fault_of(["nordan", "list", "--colour"]) == "no option --colour"
    assert fault_of(["nordan", "list"]) is None


def test_every_file_of_the_repository_that_a_command_names_exists() -> None:
    named = {
        word for page in pages() for words in page.commands() for word in words if word.startswith(("deploy/", "docs/"))
    }
    assert [word for word in sorted(named) if not Path(ROOT, word).exists()] == []


def fault_of(words: list[str]) -> str | None:
    """Return what is wrong with a command's words, up to where the words of the user's own command begin."""
    command, rest = COMMANDS, list(words[1:])
    while rest:
        word = rest.pop(0)
        if word == "--":
            return None
        if word.startswith("-"):
            option = options_of(command).get(word.split("=", maxsplit=1)[0])
            if option is None and word not in HELP:
                return f"no option {word}"
            if takes_value(option) and "=" not in word:
                rest = rest[1:]
        elif hasattr(command, "get_command") and not is_placeholder(word):
            found = command.get_command(None, word)
            if found is None:
                return f"no command {word}"
            command = unwrapped(found)
    return None


def options_of(command: Any) -> dict[str, Any]:  # Any: Typer's command base is private
    """Return the options of a command by every name they have."""
    return {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}


def takes_value(option: Any) -> bool:
    """Tell whether an option is followed by a value."""
    return option is not None and not getattr(option, "is_flag", False)


def unwrapped(command: Any) -> Any:
    """Return the real command behind a stand-in that loads it when it is used."""
    return load(command._verb) if isinstance(command, LazyCommand) else command


def is_placeholder(word: str) -> bool:
    """Tell whether a word stands for something else: JOB, FILE, or three dots."""
    return word.isupper() or word == "…" or "|" in word
