"""The supervisor's door: who may ask, what is refused, and that a session goes on without it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from nordan_core.identifiers import new_id
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.base import LaunchFailed
from nordan_workers.shim import frames
from nordan_workers.shim.frames import Kind
from nordan_workers.supervisor import doorway
from nordan_workers.supervisor.doorway import EXEC_SOCKET, Doorway
from support.attempts import launch_order, until
from support.fake_executor import FakeExecutor
from support.supervisors import RegionUnderTest, region_under_test


class OpenExecutor(FakeExecutor):
    """One that opens sessions: says so on the connection, or fails."""

    is_broken = False

    def open_session(self, attempt_id: str, rank: int, connection: socket.socket) -> None:
        if self.is_broken:
            raise LaunchFailed("no")
        connection.sendall(frames.pack(Kind.READY, f"{attempt_id} {rank}".encode()))


async def ask(path: Path, data: bytes) -> tuple[Kind, bytes] | None:
    """Send something through the door and return the first frame of the answer; None for a door that hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        kind, length = frames.parse_header(await reader.readexactly(frames.HEADER_BYTES))
        return kind, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    finally:
        writer.close()


Answer = tuple[Kind, bytes] | None


def answers(executor: FakeExecutor, path: Path, *asked: bytes, may_enter: bool = True) -> list[Answer]:
    """Open a door and return what it answers."""

    async def run() -> list[Answer]:
        door = Doorway(path, executor, lambda _: may_enter)
        loop = asyncio.get_running_loop()
        door.open(loop)
        try:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            return [await ask(path, one) for one in asked]
        finally:
            await door.close(loop)

    found = asyncio.run(run())
    assert not path.exists()
    return found


def wish(attempt_id: object, rank: object = 0) -> bytes:
    return frames.pack_document(Kind.OPEN, {"attempt_id": attempt_id, "rank": rank})


def code(answer: Answer) -> str:
    assert answer is not None
    assert answer[0] is Kind.END
    return str(json.loads(answer[1])["error"])


def test_a_wish_is_handed_to_the_executor_with_its_connection(tmp_path: Path) -> None:
    attempt = new_id("att")
    assert answers(OpenExecutor(tmp_path, SystemClock()), tmp_path / "door", wish(attempt, 3)) == [
        (Kind.READY, f"{attempt} 3".encode())
    ]


@pytest.mark.parametrize(
    "asked",
    [wish(1), wish("att", "0"), wish("att", True), frames.pack(Kind.OPEN, b"[]"), frames.pack(Kind.STDIN), b"\xff" * 9],
    ids=range(6),
)
def test_a_wish_of_another_form_is_a_bad_request(tmp_path: Path, asked: bytes) -> None:
    [answer] = answers(OpenExecutor(tmp_path, SystemClock()), tmp_path / "door", asked)
    assert code(answer) == "bad_request"


def test_a_caller_who_says_nothing_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "ASK_LIMIT_S", 0.1)
    [answer] = answers(OpenExecutor(tmp_path, SystemClock()), tmp_path / "door", b"")
    assert code(answer) == "bad_request"


def test_an_attempt_that_may_not_be_entered_is_not_running(tmp_path: Path) -> None:
    [answer] = answers(OpenExecutor(tmp_path, SystemClock()), tmp_path / "door", wish(new_id("att")), may_enter=False)
    assert code(answer) == "attempt_not_running"


def test_an_executor_that_cannot_says_so(tmp_path: Path) -> None:
    [answer] = answers(FakeExecutor(tmp_path, SystemClock()), tmp_path / "door", wish(new_id("att")))
    assert code(answer) == "exec_not_supported"


def test_a_machine_that_cannot_is_asked_again_later(tmp_path: Path) -> None:
    executor = OpenExecutor(tmp_path, SystemClock())
    executor.is_broken = True
    [answer] = answers(executor, tmp_path / "door", wish(new_id("att")))
    assert code(answer) == "not_possible_now"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0: only root can be somebody else")
def test_another_user_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the folder ever be open to one."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    os.chown(tmp_path, 12345, 12345)
    [answer] = answers(OpenExecutor(tmp_path, SystemClock()), tmp_path / "door", wish(new_id("att")))
    assert code(answer) == "forbidden"


def test_a_running_attempt_is_entered_and_the_supervisors_death_not_noticed() -> None:
    """By a real supervisor, with the local executor behind it."""
    with region_under_test() as region:
        region.start()
        order = region.submit(launch_order(("sleep", "60")))
        line = entered(region, order)
        line.sendall(frames.pack_document(Kind.START, {"command": ["cat"]}))
        region.kill()
        line.sendall(frames.pack(Kind.STDIN, b"still there") + frames.pack(Kind.STDIN))
        assert frames.receive(line, Kind.STDOUT) == b"still there"
        assert json.loads(frames.receive(line, Kind.END)) == {"exit_code": 0}
        line.close()
        region.start()
        entered(region, order).close()
        region.settle()
        with asked(region, order) as line:
            assert json.loads(frames.receive(line, Kind.END))["error"] == "attempt_not_running"


def entered(region: RegionUnderTest, order: LaunchOrder) -> socket.socket:
    found: list[socket.socket] = []

    def is_ready() -> bool:
        line = asked(region, order)
        try:
            frames.receive(line, Kind.READY)
        except frames.BadFrame:
            line.close()
            return False
        found.append(line)
        return True

    until(is_ready, "the attempt can be entered")
    return found[0]


def asked(region: RegionUnderTest, order: LaunchOrder) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(10)
    line.connect(str(region.folder / "run" / EXEC_SOCKET))
    line.sendall(wish(order.attempt_id))
    return line
