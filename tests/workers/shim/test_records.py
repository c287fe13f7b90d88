"""Records: whole or absent, made once where that matters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nordan_workers.shim.records import Claim, Deadline, RankOrder, create, read, write

CLAIM = Claim("boot", 1, 2)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    order = RankOrder(
        attempt_id="att",
        rank=0,
        command=("echo", "ä\n"),
        env={"A": "b"},
        cwd="/",
        log="/log",
        log_limit_bytes=1,
        events="/events",
        uid=None,
        is_alone=True,
        deadline_grace_s=0.5,
    )
    write(tmp_path / "order", order, is_durable=True)
    assert read(tmp_path / "order", RankOrder) == order


def test_writing_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    for second in (1.0, 2.0):
        write(tmp_path / "deadline", Deadline("boot", second))
    assert read(tmp_path / "deadline", Deadline) == Deadline("boot", 2.0)
    assert [one.name for one in tmp_path.iterdir()] == ["deadline"]


def test_records_are_for_their_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "deadline", Deadline("boot", 1.0))
    create(tmp_path / "claim", CLAIM)
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}


def test_a_claim_is_made_once(tmp_path: Path) -> None:
    assert create(tmp_path / "claim", CLAIM)
    assert not create(tmp_path / "claim", Claim("boot", 3, 4))
    assert read(tmp_path / "claim", Claim) == CLAIM


@pytest.mark.parametrize("text", ['{"boot_id": "b', "[1, 2]", '{"boot_id": "b"}', "\0\0\0", '{"unknown": 1}'])
def test_what_a_loss_of_power_has_torn_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "torn").write_text(text)
    assert read(tmp_path / "torn", Claim) is None


def test_a_disk_that_takes_a_part_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:7]))
    write(tmp_path / "claim", CLAIM)
    monkeypatch.undo()
    assert read(tmp_path / "claim", Claim) == CLAIM


def test_absent_and_empty_files_are_no_record(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read(tmp_path / "empty", Claim) is None
    assert read(tmp_path / "absent", Claim) is None
