"""A fault happens once at its point; without one, nothing ever happens."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from nordan_workers.faults import NO_FAULTS, POINTS, Faults


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    return killed


def test_it_happens_at_its_point_and_once_over_restarts(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    Faults("after_redeem", tmp_path).at("before_redeem")
    assert killed == []
    Faults("after_redeem", tmp_path).at("after_redeem")
    Faults("after_redeem", tmp_path).at("after_redeem")
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_without_a_point_it_is_inert(killed: list[tuple[int, int]]) -> None:
    for point in POINTS:
        NO_FAULTS.at(point)
    assert killed == []


def test_a_point_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="before_write"):
        Faults("somewhere", tmp_path)
