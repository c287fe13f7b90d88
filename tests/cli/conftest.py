"""One command line run in this process against a fake server, with a clock that stands still between sleeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_cli.invocation import Invocation
from nordan_cli.main import main
from nordan_core.clock import ManualClock
from support.command_line import Nordan, Result
from support.fake_rest import URL, FakeRest


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, no width of the developer's own terminal, no login from the environment."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NORDAN_URL", "NORDAN_KEY", "NORDAN_PROJECT", "NORDAN_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rest() -> FakeRest:
    """A server that knows nothing yet."""
    return FakeRest()


@pytest.fixture
def clock() -> ManualClock:
    """Time, moved by sleeping only."""
    return ManualClock()


@pytest.fixture
def run(rest: FakeRest, clock: ManualClock, tmp_path: Path) -> Invocation:
    """The surroundings of a command line that is logged in."""
    return Invocation(
        clock=clock,
        sleep=clock.advance,
        transport=rest.transport,
        config_path=tmp_path / "config" / "config.json",
        url=URL,
        key="nk_test",
    )


@pytest.fixture
def nordan(run: Invocation, capsys: pytest.CaptureFixture[str]) -> Nordan:
    """Run `nordan` with these words and return how it ended."""

    def call(*words: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words, run)
        captured = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 1, captured.out, captured.err)

    return call
