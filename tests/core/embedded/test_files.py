"""Looking into folders that other processes fill and empty."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nordan_core.embedded.files import matching

PATTERN = "*/attempts/*/rank-*/pid.json"


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    for region, attempt in (("fr-bru-1", "att_a"), ("fr-bru-1", "att_b"), ("se-bor-1", "att_c")):
        rank = tmp_path / region / "attempts" / attempt / "rank-0"
        rank.mkdir(parents=True)
        (rank / "pid.json").touch()
    return tmp_path


def attempts(regions: Path) -> list[str]:
    return [path.parts[-3] for path in matching(regions, PATTERN)]


def test_what_fits_is_found_in_order_and_nothing_else(regions: Path) -> None:
    (regions / "fr-bru-1" / "attempts" / "att_b" / "note").mkdir()
    (regions / "fr-bru-1" / "attempts" / "note").touch()
    (regions / "no-nar-1").touch()
    assert attempts(regions) == ["att_a", "att_b", "att_c"]
    assert matching(regions / "nowhere", PATTERN) == []


def test_a_folder_that_goes_while_it_is_looked_at_takes_nothing_else_with_it(
    regions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path.glob` would raise: it has seen the folder before it opens it."""
    gone, scandir = regions / "fr-bru-1" / "attempts" / "att_a", os.scandir

    def scan(path: Any) -> Any:  # Any: as os.scandir
        if Path(path) == gone:
            gone.rename(regions / "gone")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert attempts(regions) == ["att_b", "att_c"]
