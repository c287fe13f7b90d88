"""Waiting for a migration that another process runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import create_engine, text

from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.store.migrate import config, is_reached, upgrade, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
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
        wait("postgresql+psycopg://nordan@127.0.0.1:1/nordan", pause)
    assert "does not answer" in capsys.readouterr().err
