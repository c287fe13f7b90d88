"""The real app over a real PostgreSQL, with Europe's sample world and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from httpx import Client

from nordan_cli.invocation import Invocation
from nordan_cli.main import main
from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_scheduler.load import Loader
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.port import Answers, build_port
from support.command_line import Nordan, Result
from support.database_clock import timed_engine
from support.exports import export_of, replayed
from support.lab import CERTIFICATE_KEY, Lab, open_lab
from support.postgres import server
from support.serving import serving

__all__ = ["server"]
SECRET = "between api and scheduler"


@pytest.fixture(scope="session")
def laboratory(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Serve one control plane for all tests of this folder."""
    engine = timed_engine(server)
    lab = open_lab(engine, tmp_path_factory.mktemp("control"))
    with serving(lab.app) as url, Client(base_url=url, timeout=30) as client:
        lab.settle(client)
        yield lab
    engine.dispose()


@pytest.fixture
def lab(laboratory: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Return the control plane as it was when the sample world had just been applied.

    Whatever a test did, its log is replayed offline in the end: every judged act must be judged the same again.
    """
    fresh = laboratory.fresh()
    yield fresh
    if request.node.get_closest_marker("log_is_broken") is None:
        fresh.seal()
        assert replayed(export_of(fresh.context.store), CERTIFICATE_KEY.public).faults == []


@pytest.fixture
def europe(lab: Lab) -> Lab:
    """Return the same, under the name of its world."""
    return lab


@pytest.fixture
def planner(lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """Serve the scheduler's read-only port and tell the api where it is."""
    loader = Loader(lab.context.store, lab.clock, FactsCache(AtlasShelf()))
    answers = Answers(lab.context.store, lab.clock, loader)
    secret = tmp_path / "port-secret"
    secret.write_text(SECRET)
    with serving(build_port(answers, Metrics(), health=lambda: {"leader": False}, secret=SECRET)) as url:
        told = {"scheduler_urls": f"http://127.0.0.1:1,{url}", "scheduler_secret_file": secret}
        settings = lab.context.settings.model_copy(update=told)
        lab.app.state.context = replace(lab.context, settings=settings)
        yield lab


@pytest.fixture
def nordan(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nordan:
    """Run `nordan` with these words, logged in as the administrator."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    run = Invocation(
        clock=lab.clock,
        sleep=lambda _: None,
        config_path=tmp_path / "config.json",
        url=str(lab.client.base_url),
        key=lab.admin_key,
    )

    def call(*words: str) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words, run)
        captured = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 1, captured.out, captured.err)

    return call
