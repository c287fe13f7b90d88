"""The command as a whole: help without loading, near names, exit codes, verbs of other packages."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import typer

from nordan_cli import verbs
from nordan_cli.verbs import VERBS, Verb
from nordan_core.domain.errors import OperatorError
from support.command_line import Nordan

#: Each takes longer to import than all of Typer; `nordan --help` needs none.
HEAVY = ("httpx", "rich", "yaml", "pydantic", "cryptography", "sqlmodel", "fastapi", "nordan_core.proof")


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\nfrom nordan_cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_says_of_each_verb_what_the_verb_says_of_itself(verb: Verb) -> None:
    assert verbs.load(verb).help.splitlines()[0] == verb.help


def test_help_shows_every_verb_and_the_exit_codes(nordan: Nordan) -> None:
    ended = nordan("--help")
    assert ended.code == 0
    for verb in VERBS:
        assert f"  {verb.name} " in ended.out
    assert "Exit codes: 0 done, 1 refused or failed, 2 wrong use" in " ".join(ended.out.split())


@pytest.mark.parametrize(("typed", "meant"), [("sumbit", "submit"), ("lits", "list"), ("upp", "up")])
def test_a_mistyped_verb_gets_a_near_name(nordan: Nordan, typed: str, meant: str) -> None:
    ended = nordan(typed)
    assert ended.code == 2
    assert f"Did you mean '{meant}'?" in ended.err


def test_a_mistyped_option_gets_a_near_name(nordan: Nordan) -> None:
    ended = nordan("list", "--limt", "3")
    assert ended.code == 2
    assert "--limit" in ended.err


@pytest.mark.parametrize("words", [["list", "--state", "asleep"], ["list", "--limit", "0"], ["cancel"], ["get"]])
def test_wrong_use_exits_with_2(nordan: Nordan, words: list[str]) -> None:
    assert nordan(*words).code == 2


def test_an_error_of_another_package_is_a_sentence_and_not_a_traceback(
    nordan: Nordan, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plug_in(monkeypatch, _broken)
    ended = nordan("extra")
    assert (ended.code, ended.out, ended.err) == (1, "", "error: port 8471 is taken\n")


def test_a_function_becomes_a_verb(nordan: Nordan, monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(monkeypatch, _greet)
    assert nordan("extra", "world").out == "hello world\n"
    assert "extra" in nordan("--help").out


def test_an_app_becomes_a_verb(nordan: Nordan, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command("greet")(_greet)
    app.command("break")(_broken)
    _plug_in(monkeypatch, app)
    assert nordan("extra", "greet", "world").out == "hello world\n"


def test_a_verb_whose_server_part_is_missing_says_what_to_install(
    nordan: Nordan, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("extra", "not_installed_here.module:app", verbs.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    ended = nordan("extra", "--help")
    assert ended.code == 1
    assert "nordan extra needs a part that is not installed here (not_installed_here)" in ended.err
    assert "pip install 'nordan[server]'" in ended.err


def test_an_entry_point_cannot_take_the_place_of_a_verb(nordan: Nordan, monkeypatch: pytest.MonkeyPatch) -> None:
    _plug_in(monkeypatch, _greet, name="login")
    assert "Remember a control plane" in nordan("login", "--help").out


def test_a_missing_file_is_an_error_of_use(nordan: Nordan) -> None:
    ended = nordan("submit", "-f", "gone.yaml")
    assert (ended.code, ended.err) == (2, "error: cannot read gone.yaml: No such file or directory\n")


def _greet(name: str) -> None:
    """Greet."""
    typer.echo(f"hello {name}")


def _broken() -> None:
    """Fail."""
    raise OperatorError("port 8471 is taken")


def _plug_in(monkeypatch: pytest.MonkeyPatch, target: object, name: str = "extra") -> None:
    holder = ModuleType("plugged_in_for_a_test")
    vars(holder)["plugged"] = target
    monkeypatch.setitem(sys.modules, holder.__name__, holder)
    point = EntryPoint(name, "plugged_in_for_a_test:plugged", verbs.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])


def test_the_program_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nordan_cli", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.startswith("nordan 0.")
