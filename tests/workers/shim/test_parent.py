"""The warm parent: what it answers, whom it serves, when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_workers.shim.parent import SOCKET
from support.attempts import needs_root, region_folder, until


@pytest.fixture
def region_dir() -> Iterator[Path]:
    with region_folder() as folder:
        for name in ("run", "attempts"):
            (folder / name).mkdir(mode=0o755)
        yield folder


def start(region_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "nordan_workers.shim", str(region_dir)], stderr=subprocess.PIPE)


@pytest.fixture
def parent(region_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    with start(region_dir) as process:
        until((region_dir / "run" / SOCKET).exists, "the socket")
        yield process
        process.kill()


def connect(region_dir: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(5)
    client.connect(str(region_dir / "run" / SOCKET))
    return client


def ask(client: socket.socket, line: bytes) -> dict[str, object]:
    client.sendall(line + b"\n")
    answer: dict[str, object] = json.loads(client.recv(4096))
    return answer


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"rank_dir": 7}',
        b'{"rank_dir": "/etc"}',
        b'{"rank_dir": "attempts/a/rank-0"}',
        b"\xff",
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_served(
    parent: subprocess.Popen[bytes], region_dir: Path, line: bytes
) -> None:
    with connect(region_dir) as client:
        assert ask(client, line) == {"error": "not a request"}
        rank_dir = str(region_dir / "attempts" / "att" / "rank-0")
        assert "shim_pid" in ask(client, json.dumps({"rank_dir": rank_dir}).encode())
    assert parent.poll() is None


def test_a_line_without_end_is_hung_up_on(parent: subprocess.Popen[bytes], region_dir: Path) -> None:
    with connect(region_dir) as client:
        client.sendall(b"x" * 10_000)
        # Bytes that nobody read make it a reset instead of an end.
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
    assert parent.poll() is None


def test_a_request_may_come_in_pieces(parent: subprocess.Popen[bytes], region_dir: Path) -> None:
    with connect(region_dir) as client:
        client.sendall(b'{"lea')
        assert ask(client, b've": true}') == {}
    assert parent.wait(5) == 0


def test_a_second_parent_leaves_the_first_alone(parent: subprocess.Popen[bytes], region_dir: Path) -> None:
    with start(region_dir) as second:
        assert second.wait(5) == 0
    with connect(region_dir) as client:
        assert ask(client, b"{}") == {"error": "not a request"}
    assert parent.poll() is None


def test_it_ends_when_its_last_executor_says_so(parent: subprocess.Popen[bytes], region_dir: Path) -> None:
    with connect(region_dir) as client:
        ask(client, b'{"leave": true}')
    assert parent.wait(5) == 0
    assert not (region_dir / "run" / SOCKET).exists()


def test_a_shim_that_cannot_begin_leaves_a_trace_without_content(
    parent: subprocess.Popen[bytes], region_dir: Path
) -> None:
    rank_dir = region_dir / "attempts" / "att" / "rank-0"
    rank_dir.mkdir(parents=True)
    (rank_dir / "order.json").write_text('{"secret": "content"')
    with connect(region_dir) as client:
        assert "shim_pid" in ask(client, json.dumps({"rank_dir": str(rank_dir)}).encode())
        until((rank_dir / "claim.json").exists, "the claim")
        ask(client, b'{"leave": true}')
    assert parent.stderr is not None
    trace = parent.stderr.read().decode()
    assert "Traceback" in trace
    assert "content" not in trace


@needs_root
@pytest.mark.root
def test_another_user_is_not_served(parent: subprocess.Popen[bytes], region_dir: Path) -> None:
    (region_dir / "run" / SOCKET).chmod(0o666)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setresuid(270_400, 270_400, 270_400)
            client = connect(region_dir)
            code = 0 if client.recv(10) == b"" else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert parent.poll() is None
