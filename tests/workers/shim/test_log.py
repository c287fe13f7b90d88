"""A rank's log: bounded, append-only, never the program's problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nordan_workers.shim.log import Pump, RankLog

NOTICE = b"\n[nordan] the log has reached 10 bytes; the rest is dropped\n"


@pytest.mark.parametrize("parts", [[b"0123456789abc"], [b"01234", b"56789", b"abc"], [b"012345678", b"9abc", b"d"]])
def test_the_log_keeps_what_fits_and_says_once_that_more_came(tmp_path: Path, parts: list[bytes]) -> None:
    log = RankLog(tmp_path / "log", 10)
    for part in parts:
        log.feed(part)
    assert (tmp_path / "log").read_bytes() == b"0123456789" + NOTICE


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")
    RankLog(tmp_path / "log", 10).feed(b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


def test_a_log_is_not_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        RankLog(tmp_path / "log", 10)


def test_a_full_disk_is_survived() -> None:
    RankLog(Path("/dev/full"), 10).feed(b"lost")


def test_the_pump_ends_with_the_last_writer(tmp_path: Path) -> None:
    source, sink = os.pipe()
    pump = Pump(source, RankLog(tmp_path / "log", 100))
    pump.start()
    os.write(sink, b"hello")
    os.close(sink)
    pump.join(5)
    assert not pump.is_alive()
    assert (tmp_path / "log").read_bytes() == b"hello"
    os.close(source)
