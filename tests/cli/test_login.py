"""Logging in, and where address, key and project come from."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest

from nordan_cli import config
from nordan_cli.invocation import Invocation
from support.command_line import Nordan
from support.fake_rest import URL, FakeRest, problem

ME = {"organisation": "acme", "role": "owner", "project": None, "key": "key_1"}


@pytest.fixture
def run(run: Invocation) -> Invocation:
    """Nobody is logged in."""
    run.url = run.key = ""
    return run


def test_a_login_is_checked_and_stored_for_its_owner_only(nordan: Nordan, rest: FakeRest, run: Invocation) -> None:
    rest.on("GET /v1/me", ME)
    ended = nordan("login", "--url", f"{URL}/", "--key", "nk_secret", "--project", "lab")
    assert ended.code == 0
    assert "acme as owner, project lab" in ended.out
    assert json.loads(run.config_path.read_text()) == {"url": URL, "key": "nk_secret", "project": "lab"}
    assert stat.S_IMODE(run.config_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(run.config_path.parent.stat().st_mode) == 0o700
    assert [path.name for path in run.config_path.parent.iterdir()] == ["config.json"]


def test_a_key_comes_from_standard_input_too(
    nordan: Nordan, rest: FakeRest, run: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest.on("GET /v1/me", ME)
    monkeypatch.setattr("sys.stdin", io.StringIO("nk_piped\n"))
    assert nordan("login", "--url", URL, "--key", "-").code == 0
    assert config.load(run.config_path).key == "nk_piped"
    assert rest.requests[0].headers["Authorization"] == "Bearer nk_piped"


def test_a_key_that_is_not_known_is_not_stored(nordan: Nordan, rest: FakeRest, run: Invocation) -> None:
    rest.on("GET /v1/me", problem(401, "unauthenticated", "no such key"))
    ended = nordan("login", "--url", URL, "--key", "nk_wrong")
    assert ended.code == 1
    assert "does not know this key" in ended.err
    assert "nothing was stored" in ended.err
    assert not run.config_path.exists()


def test_a_login_keeps_the_old_one_when_the_new_one_fails(nordan: Nordan, rest: FakeRest, run: Invocation) -> None:
    config.save(run.config_path, config.Config(URL, "nk_old", "lab"))
    rest.on("GET /v1/me", problem(401, "unauthenticated", "no such key"))
    nordan("login", "--url", URL, "--key", "nk_wrong")
    assert config.load(run.config_path).key == "nk_old"


def test_a_key_with_strange_characters_is_refused_before_it_is_sent(nordan: Nordan, rest: FakeRest) -> None:
    ended = nordan("login", "--url", URL, "--key", "nk_é")
    assert ended.code == 2
    assert not rest.requests


def test_plain_http_to_another_machine_is_warned_about(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("GET /v1/me", ME)
    assert "in clear text" in nordan("login", "--url", URL, "--key", "nk_1").err


def test_without_a_login_every_verb_says_how_to_get_one(nordan: Nordan, rest: FakeRest) -> None:
    ended = nordan("list")
    assert ended.code == 2
    assert "nordan up" in ended.err
    assert "nordan login" in ended.err
    assert not rest.requests


def test_the_environment_wins_over_the_file_and_an_option_over_both(
    nordan: Nordan, rest: FakeRest, run: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.save(run.config_path, config.Config("http://other.test", "nk_file", "file"))
    monkeypatch.setenv("NORDAN_URL", URL)
    monkeypatch.setenv("NORDAN_KEY", "nk_environment")
    monkeypatch.setenv("NORDAN_PROJECT", "environment")
    for project in ("environment", "option"):
        rest.on(f"GET /v1/projects/{project}/jobs", {"items": []})
    assert nordan("list").code == 0
    assert nordan("list", "--project", "option").code == 0
    assert [request.url.path for request in rest.requests] == [
        "/v1/projects/environment/jobs",
        "/v1/projects/option/jobs",
    ]
    assert rest.requests[0].headers["Authorization"] == "Bearer nk_environment"


def test_another_configuration_file_can_be_named(
    nordan: Nordan, rest: FakeRest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.save(tmp_path / "other.json", config.Config(URL, "nk_other", "lab"))
    rest.on("GET /v1/projects/lab/jobs", {"items": []})
    monkeypatch.setenv("NORDAN_CONFIG", str(tmp_path / "other.json"))
    assert nordan("list").code == 0


def test_a_file_that_others_can_read_is_warned_about(nordan: Nordan, rest: FakeRest, run: Invocation) -> None:
    config.save(run.config_path, config.Config(URL, "nk_1", "lab"))
    run.config_path.chmod(0o644)
    rest.on("GET /v1/projects/lab/jobs", {"items": []})
    assert "chmod 600" in nordan("list").err


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_configuration_is_an_error_of_use(nordan: Nordan, run: Invocation, text: str) -> None:
    run.config_path.parent.mkdir()
    run.config_path.write_text(text)
    ended = nordan("list")
    assert ended.code == 2
    assert "run nordan login again" in ended.err


def test_a_file_of_another_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"url": "http://a", "key": null, "newer": [1]}')
    assert config.load(tmp_path / "config.json") == config.Config(url="http://a")


def test_the_default_file_is_in_the_users_configuration_folder(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.default_path() == own_home / ".config" / "nordan" / "config.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.default_path() == tmp_path / "nordan" / "config.json"
