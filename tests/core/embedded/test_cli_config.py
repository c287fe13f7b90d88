"""Logging the invoking user in."""

from __future__ import annotations

import json
from pathlib import Path

from nordan_core.embedded.cli_config import log_in, login_command
from nordan_core.embedded.up import Ready

READY = Ready("http://127.0.0.1:8471", "nk_secret", "default", ("home-1",), Path("/data"))


def test_a_first_login_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    config = tmp_path / "nordan" / "config.json"
    assert log_in(config, READY)
    assert json.loads(config.read_text()) == {"url": READY.url, "key": "nk_secret", "project": "default"}
    assert config.stat().st_mode & 0o777 == 0o600
    assert config.parent.stat().st_mode & 0o077 == 0


def test_a_login_at_the_same_server_is_renewed(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"url": READY.url + "/", "key": "old"}))
    assert log_in(config, READY)
    assert json.loads(config.read_text())["key"] == "nk_secret"


def test_a_login_at_the_same_stack_follows_it_to_another_port(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"url": "http://127.0.0.1:9", "key": "nk_secret"}))
    assert log_in(config, READY)
    assert json.loads(config.read_text())["url"] == READY.url


def test_a_login_at_another_server_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text in ('{"url": "https://nordan.example", "key": "theirs"}', "not JSON"):
        config.write_text(text)
        assert not log_in(config, READY)
        assert config.read_text() == text


def test_the_login_command_holds_no_key() -> None:
    command = login_command(READY)
    assert "nk_secret" not in command
    assert "/data/control/admin-key" in command
