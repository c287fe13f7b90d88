"""Waiting for a migration that another process runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from alembic import command
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.store import migrate
from nordan_core.store.migrate import config, is_reached, upgrade, upgrade_when_up, wait

NOBODY = "postgresql+psycopg://nordan@127.0.0.1:1/nordan"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fresh_database() as found:
        yield found


@contextmanager
def fresh_database() -> Iterator[str]:
    with temporary_postgres() as found:
        yield found.replace("postgresql://", "postgresql+psycopg://", 1)


def test_whoever_waits_goes_on_when_the_schema_is_reached(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            assert not is_reached(url)
            command.upgrade(config(url), "0001")
        else:
            assert not is_reached(url)
            upgrade(url)

    wait(url, pause)
    assert len(pauses) == 2
    assert capsys.readouterr().err.count("waiting for its migration") == 1


def test_a_schema_of_a_later_version_serves_this_one(url: str) -> None:
    """While a new version is rolled out, processes of the old one may start again."""
    upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    engine.dispose()
    assert is_reached(url)


def test_a_database_that_is_away_is_waited_for(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Enough(Exception):
        pass

    def pause(_: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        wait(NOBODY, pause)
    assert "does not answer" in capsys.readouterr().err


def test_a_migration_gives_a_database_time_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False])
    pauses: list[float] = []
    monkeypatch.setattr(migrate, "_answers", lambda _: next(answers, True))
    with fresh_database() as url:
        upgrade_when_up(url, pauses.append)
        assert len(pauses) == 2
        assert is_reached(url)


def test_a_migration_says_in_the_end_that_the_database_is_away() -> None:
    pauses: list[float] = []
    with pytest.raises(OperationalError):
        upgrade_when_up(NOBODY, pauses.append)
    assert len(pauses) == migrate.PATIENT_LOOKS
