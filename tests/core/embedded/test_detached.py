"""`nordan up --detach` and `nordan down`, with stand-ins for the other packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nordan_core.embedded.detached import stop_detached
from nordan_core.embedded.up_command import app, down_app

runner = CliRunner()


def test_down_without_a_stack_says_so(data_dir: Path) -> None:
    result = runner.invoke(down_app, [f"--data-dir={data_dir}"])
    assert result.exit_code == 0
    assert "nothing runs" in result.output
    assert not stop_detached(data_dir)


def test_help_names_every_option() -> None:
    result = runner.invoke(app, ["--help"], env={"COLUMNS": "200"})
    for option in ("--data-dir", "--world", "--port", "--stop-jobs", "--no-standby", "--detach"):
        assert option in result.output


@pytest.mark.parametrize("port", ["-1", "65536", "x"])
def test_a_port_that_is_none_is_wrong_use(data_dir: Path, port: str) -> None:
    assert runner.invoke(app, [f"--data-dir={data_dir}", f"--port={port}"]).exit_code == 2
