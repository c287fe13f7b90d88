"""The demo's programs by themselves, run by hand as a gang, without Nordan."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.digits import write_digits

DEMO = Path(__file__).resolve().parents[2] / "deploy" / "demo"


class ByHand:
    """Runs the programs as the local executor would: folders and environment of each rank."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_digits(root / "inputs" / "patients" / "digits.csv")
        self.processes: list[subprocess.Popen[str]] = []

    def environment(self, rank: int, port: int, **more: str) -> dict[str, str]:
        folders = {}
        for kind in ("CHECKPOINT", "OUTPUT"):
            folder = self.root / f"rank-{rank}" / kind.lower()
            folder.mkdir(parents=True, exist_ok=True)
            folders[f"NORDAN_{kind}_DIR"] = str(folder)
        # One BLAS thread per rank: a gang on a small machine must not fight over its cores.
        return {
            "PATH": os.environ["PATH"],
            "OPENBLAS_NUM_THREADS": "1",
            "NORDAN_ATTEMPT": "att_test",
            "NORDAN_NODE_RANK": str(rank),
            "NORDAN_NODES": "2",
            "NORDAN_INPUT_DIR": str(self.root / "inputs"),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            **folders,
            **more,
        }

    def start(self, program: str, environment: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(DEMO / program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def train(self, **more: str) -> list[subprocess.Popen[str]]:
        port = free_port()
        return [self.start("train.py", self.environment(rank, port, **more)) for rank in (0, 1)]

    def checkpoints(self) -> list[Path]:
        return sorted((self.root / "rank-0" / "checkpoint").glob("epoch-*.npz"))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    runner = ByHand(tmp_path)
    yield runner
    runner.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_two_ranks_learn_to_read_digits_and_leave_a_model(by_hand: ByHand) -> None:
    ranks = by_hand.train(EPOCHS="20", PAUSE_S="0")
    logs = [rank.communicate(timeout=60)[0] for rank in ranks]

    assert [rank.returncode for rank in ranks] == [0, 0], logs
    model = by_hand.root / "rank-0" / "output" / "model"
    assert json.loads((model / "model.json").read_text())["accuracy"] > 0.90
    assert (model / "weights.npz").exists()
    assert not list((by_hand.root / "rank-1" / "output").iterdir())


def test_a_killed_rank_ends_the_gang_and_the_next_try_resumes(by_hand: ByHand) -> None:
    first = by_hand.train(EPOCHS="20", PAUSE_S="0.2")
    until(lambda: len(by_hand.checkpoints()) >= 2)
    first[1].send_signal(signal.SIGKILL)
    log = first[0].communicate(timeout=30)[0]
    assert first[0].returncode != 0
    assert "a rank of the gang is gone" in log or "reset by peer" in log or "Broken pipe" in log

    done = int(by_hand.checkpoints()[-1].stem.removeprefix("epoch-"))
    second = by_hand.train(EPOCHS="20", PAUSE_S="0")
    log = second[0].communicate(timeout=60)[0]
    second[1].communicate(timeout=60)
    assert [rank.returncode for rank in second] == [0, 0], log
    assert f"from epoch {done}" in log
    assert f"epoch {done + 1} of 20" in log
    assert "epoch 1 of 20" not in log


def test_the_model_answers_requests_until_it_is_told_to_stop(by_hand: ByHand) -> None:
    for rank in by_hand.train(EPOCHS="10", PAUSE_S="0"):
        assert rank.wait(timeout=60) == 0
    port = free_port()
    model = by_hand.root / "rank-0" / "output"
    environment = by_hand.environment(0, port, NORDAN_HOST="127.0.0.1", NORDAN_PORT=str(port)) | {
        "NORDAN_INPUT_DIR": str(model)
    }
    server = by_hand.start("serve.py", environment)
    assert server.stdout is not None
    assert server.stdout.readline() == "serving\n"

    rows = (by_hand.root / "inputs" / "patients" / "digits.csv").read_text().splitlines()[1:51]
    pixels = [[float(value) for value in row.split(",")[:64]] for row in rows]
    labels = [int(row.split(",")[64]) for row in rows]
    answer = post(port, json.dumps({"pixels": pixels}).encode())
    right = sum(want == got for want, got in zip(labels, answer["digits"], strict=True))
    assert right >= 45
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
    with pytest.raises(urllib.error.HTTPError, match="400"):
        post(port, b'{"pixels": [[1, 2]]}')
    server.terminate()
    assert server.wait(timeout=10) == 0


def post(port: int, body: bytes) -> dict[str, list[int]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        answer: dict[str, list[int]] = json.load(response)
    return answer
