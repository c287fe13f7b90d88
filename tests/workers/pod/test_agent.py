"""Stager, agent and shim together: what a pod does for its job, with the region there, away, and back again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.attempts import until
from support.gateways import MAX_UPLOAD_BYTES, GatewayUnderTest, gateway_under_test
from support.pod_run import PodRun
from support.pods import PodAttempt, laid

Runs = Callable[..., PodRun]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    with gateway_under_test(tmp_path_factory.mktemp("region")) as gateway:
        yield gateway


@pytest.fixture
def pods(gateway: GatewayUnderTest, shim_binary: Path, tmp_path: Path) -> Iterator[Runs]:
    """A maker of pods; without an attempt of one rank and no variables."""
    made: list[PodRun] = []

    def make(attempt: PodAttempt | None = None, rank: int = 0, url: str = "") -> PodRun:
        attempt = attempt or PodAttempt(gateway.folder)
        made.append(PodRun(shim_binary, attempt, url or gateway.url, tmp_path / str(len(made)), rank))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


def test_a_job_finds_its_files_and_its_outputs_come_back(gateway: GatewayUnderTest, pods: Runs) -> None:
    attempt = PodAttempt(gateway.folder, env={"EPOCHS": "20"})
    attempt.make_folders()
    (attempt.work.inputs / "digits").mkdir()
    (attempt.work.inputs / "digits" / "rows").write_text("1 2 3")
    (attempt.work.ranks[0].cwd / "train.py").write_text("print('from a file of the job')")
    pod = pods(attempt)
    pod.python(
        "print(os.environ['EPOCHS'], (inputs / 'digits/rows').read_text(), flush=True)\n"
        "exec(Path('train.py').read_text())\n"
        "(checkpoints / 'step-1.tmp').write_text('1'); (checkpoints / 'step-1.tmp').rename(checkpoints / 'step-1')\n"
        "(outputs / 'model').mkdir(); (outputs / 'model/w.bin').write_bytes(b'w' * 300_000)\n"
        "(outputs / 'latest').symlink_to('model/w.bin'); (outputs / '.cache').write_text('x')"
    )
    assert pod.end() == 0
    assert attempt.log() == b"20 1 2 3\nfrom a file of the job\n"
    assert attempt.checkpoints == {"step-1": b"1"}
    assert attempt.outputs == {"latest": b"w" * 300_000, "model/w.bin": b"w" * 300_000}
    said = attempt.said()
    assert said is not None
    assert said.state == "ended"
    assert json.loads(said.exit) == pod.job.record()


def test_logs_and_checkpoints_come_while_the_job_runs(pods: Runs) -> None:
    pod = pods()
    pod.python("print('begun', flush=True); (checkpoints / 'step-1').mkdir(); time.sleep(600)")
    pod.wait_for_log(b"begun\n")
    until((pod.attempt.work.ranks[0].checkpoints / "step-1").is_dir, "the checkpoint")
    said = pod.attempt.said()
    assert said is not None
    assert (said.state, said.exit) == ("running", "")
    pod.attempt.stop(0.0)
    assert pod.end() in {128 + signal.SIGTERM, 128 + signal.SIGKILL}


def test_a_stop_in_the_region_reaches_the_job_within_seconds(pods: Runs) -> None:
    pod = pods()
    pod.python(
        "def save(*_):\n (checkpoints / 'last').write_text('saved'); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, save); print('begun', flush=True)\nwhile True: time.sleep(0.05)"
    )
    pod.wait_for_log(b"begun\n")
    asked_s = time.monotonic()
    pod.attempt.stop(8.0)
    assert pod.end() == 5
    assert time.monotonic() - asked_s < 12
    # What it saved in its grace is there, and a failed attempt has no outputs.
    assert pod.attempt.checkpoints == {"last": b"saved"}
    assert pod.attempt.outputs == {}


def test_a_deadline_that_nobody_moves_on_ends_the_job(pods: Runs) -> None:
    pod = pods()
    pod.attempt.deadline(4.0)
    pod.python("print('begun', flush=True)\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)")
    assert pod.job.wait(20) == 128 + signal.SIGKILL
    assert pod.job.record()["at_deadline"] is True


def test_a_deadline_that_moves_on_keeps_the_job(pods: Runs) -> None:
    pod = pods()
    pod.attempt.deadline(10.0)
    pod.python("print('begun', flush=True); time.sleep(13); print('through')")
    for _ in range(12):
        time.sleep(1.0)
        pod.attempt.deadline(10.0)
    pod.attempt.deadline(60.0)
    assert pod.end() == 0
    assert pod.attempt.log().endswith(b"through\n")


def test_an_attempt_that_the_region_has_forgotten_is_stopped(pods: Runs) -> None:
    pod = pods()
    pod.python("print('begun', flush=True); time.sleep(600)")
    pod.wait_for_log(b"begun\n")
    pod.attempt.forget()
    assert pod.end() in {128 + signal.SIGTERM, 128 + signal.SIGKILL}


def test_an_agent_that_is_killed_goes_on_where_it_was(pods: Runs) -> None:
    pod = pods()
    pod.python(
        "(checkpoints / 'one').write_text('1'); print('first', flush=True)\n"
        "while not Path('go').exists(): time.sleep(0.02)\n"
        "print('second', flush=True); (checkpoints / 'two').write_text('2'); (outputs / 'o').write_text('out')"
    )
    pod.wait_for_log(b"first\n")
    until(lambda: pod.attempt.checkpoints == {"one": b"1"}, "the first checkpoint")
    before = (pod.attempt.work.ranks[0].checkpoints / "one").stat()
    pod.kill_agent()
    (pod.work / "rank" / "go").touch()
    until(lambda: pod.job.exit() is not None, "the job ended without its agent")
    assert pod.job.process.poll() is None, "the shim waits for an agent"
    pod.start_agent()
    assert pod.end() == 0
    assert pod.attempt.log() == b"first\nsecond\n"
    assert pod.attempt.checkpoints == {"one": b"1", "two": b"2"}
    assert pod.attempt.outputs == {"o": b"out"}
    after = (pod.attempt.work.ranks[0].checkpoints / "one").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_checkpoint_that_was_laid_is_not_sent_back(gateway: GatewayUnderTest, pods: Runs) -> None:
    attempt = PodAttempt(gateway.folder)
    attempt.make_folders()
    (attempt.work.ranks[0].checkpoints / "step-9").mkdir()
    (attempt.work.ranks[0].checkpoints / "step-9" / "w").write_text("9")
    before = (attempt.work.ranks[0].checkpoints / "step-9").stat()
    pod = pods(attempt)
    pod.python("assert (checkpoints / 'step-9/w').read_text() == '9'; (checkpoints / 'step-10').write_text('10')")
    assert pod.end() == 0
    after = (attempt.work.ranks[0].checkpoints / "step-9").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert attempt.checkpoints == {"step-9/w": b"9", "step-10": b"10"}


def test_a_checkpoint_that_the_job_removes_is_removed(pods: Runs) -> None:
    pod = pods()
    pod.python(
        "(checkpoints / 'one').write_text('1')\nwhile not Path('go').exists(): time.sleep(0.02)\n"
        "(checkpoints / 'two').write_text('2'); (checkpoints / 'one').unlink()"
    )
    until(lambda: pod.attempt.checkpoints == {"one": b"1"}, "the first")
    (pod.work / "rank" / "go").touch()
    assert pod.end() == 0
    assert pod.attempt.checkpoints == {"two": b"2"}


def test_other_ranks_send_their_log_alone(gateway: GatewayUnderTest, pods: Runs) -> None:
    attempt = PodAttempt(gateway.folder, (0, 1))
    pod = pods(attempt, rank=1)
    pod.python("print('rank 1'); (outputs / 'o').write_text('x'); (checkpoints / 'c').write_text('x')")
    assert pod.end() == 0
    assert attempt.log(1) == b"rank 1\n"
    assert (attempt.outputs, attempt.checkpoints) == ({}, {})


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("(outputs / 'x').symlink_to('/proc/self/environ')", "a link leads out of the folder"),
        ("os.mkfifo(outputs / 'x')", "only plain files are kept"),
        (f"(outputs / 'x').write_bytes(bytes({MAX_UPLOAD_BYTES + 1}))", "larger than the region takes"),
    ],
)
def test_outputs_that_cannot_be_kept_fail_the_attempt_with_a_reason(pods: Runs, script: str, sentence: str) -> None:
    pod = pods()
    pod.python(script)
    assert pod.end() == 0
    assert sentence in (pod.attempt.work.root / "outputs-0.refused").read_text()
    assert pod.attempt.outputs == {}


def test_a_log_that_the_job_turns_into_a_link_leads_nowhere(pods: Runs) -> None:
    pod = pods()
    pod.python("log = outputs.parent / 'log/rank.log'; log.unlink(); log.symlink_to('/proc/self/environ')")
    assert pod.end() == 0
    assert pod.attempt.log() == b""


def test_a_job_that_says_it_has_ended_is_not_believed(pods: Runs) -> None:
    """The executor may take the agent's word for the end of a pod whose node is not heard."""
    pod = pods()
    pod.python(
        "forged = outputs.parent / 'log/exit'; forged.write_text('{\"exit_code\": 0}'); print('forged', flush=True)\n"
        "while not Path('go').exists(): time.sleep(0.02)\nsys.exit(9)"
    )
    pod.wait_for_log(b"forged\n")
    time.sleep(3.0)
    said = pod.attempt.said()
    assert said is not None
    assert said.state == "running"
    assert not (pod.job.control / "collected").exists()
    (pod.work / "rank" / "go").touch()
    assert pod.end() == 9
    said = pod.attempt.said()
    assert said is not None
    assert json.loads(said.exit)["exit_code"] == 9


def test_the_token_never_comes_near_the_job(pods: Runs) -> None:
    pod = pods()
    pod.python("print(dict(os.environ)); (outputs / 'o').write_text('x')")
    assert pod.end() == 0
    assert pod.attempt.token.encode() not in pod.attempt.log()
    for folder in (pod.work, pod.job.control):
        assert all(pod.attempt.token.encode() not in data for data in laid(folder).values())


class Relay:
    """Stands between agents and the gateway, so that a test can cut the way."""

    def __init__(self, target: str, folder: Path) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._argv = [sys.executable, "-c", _RELAY, str(self._port), host, port]
        self._process: subprocess.Popen[bytes] | None = None
        self.open()

    def open(self) -> None:
        self._process = subprocess.Popen(self._argv)
        until(self._answers, "the relay")

    def cut(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True


_RELAY = """
import socket, sys, threading
def carry(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
    except OSError: pass
    for one in (source, target):
        try: one.shutdown(2)
        except OSError: pass
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    for pair in ((near, far), (far, near)): threading.Thread(target=carry, args=pair, daemon=True).start()
"""


@pytest.fixture
def relay(gateway: GatewayUnderTest, tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(gateway.url, tmp_path)
    yield relay
    relay.cut()


def test_a_region_that_is_away_for_a_while_loses_nothing(pods: Runs, relay: Relay) -> None:
    pod = pods(url=relay.url)
    pod.python(
        "print('first', flush=True)\nwhile not Path('go').exists(): time.sleep(0.02)\n"
        "print('second', flush=True); (checkpoints / 'c').write_text('1'); (outputs / 'o').write_text('out')"
    )
    pod.wait_for_log(b"first\n")
    relay.cut()
    (pod.work / "rank" / "go").touch()
    until(lambda: pod.job.exit() is not None, "the job ended")
    time.sleep(1.5)
    assert pod.job.process.poll() is None, "the pod waits for the region"
    assert pod.attempt.log() == b"first\n"
    relay.open()
    assert pod.end() == 0
    assert pod.attempt.log() == b"first\nsecond\n"
    assert (pod.attempt.checkpoints, pod.attempt.outputs) == ({"c": b"1"}, {"o": b"out"})


def test_a_region_that_stays_away_costs_the_job_no_more_than_its_deadline(pods: Runs, relay: Relay) -> None:
    pod = pods(url=relay.url)
    pod.attempt.deadline(6.0)
    pod.python("print('begun', flush=True); time.sleep(600)")
    pod.wait_for_log(b"begun\n")
    relay.cut()
    pod.attempt.deadline(600.0)
    assert pod.job.wait(15) in {128 + signal.SIGTERM, 128 + signal.SIGKILL}
    assert pod.job.record()["at_deadline"] is True


def test_a_stager_waits_for_its_region(gateway: GatewayUnderTest, pods: Runs, relay: Relay) -> None:
    attempt = PodAttempt(gateway.folder)
    attempt.make_folders()
    (attempt.work.ranks[0].cwd / "file").write_text("laid")
    pod = pods(attempt, url=relay.url)
    relay.cut()
    with pytest.raises(subprocess.TimeoutExpired):
        pod.stage(timeout_s=2.0)
    # Killed on its way, it begins anew.
    (pod.work / ".incoming").mkdir(exist_ok=True)
    (pod.work / ".incoming" / "half").write_text("x")
    relay.open()
    assert pod.stage() == 0
    assert laid(pod.work) == {"rank/file": b"laid"}


def test_a_stager_with_a_wrong_token_or_attempt_says_so_and_goes(gateway: GatewayUnderTest, pods: Runs) -> None:
    pod = pods()
    pod.attempt.forget()
    assert pod.stage() == 1


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    argv = [sys.executable, "-m", "nordan_workers.pod", *arguments]
    done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        b"usage: python -m nordan_workers.pod stage | agent GATEWAY_URL ATTEMPT RANK\n",
    )


@pytest.mark.parametrize(
    ("told", "token", "wanted"),
    [
        ([], "t", b"the gateway's URL, its attempt and its rank"),
        (["http://gateway", "att_1"], "t", b"the gateway's URL, its attempt and its rank"),
        (["", "att_1", "0"], "t", b"the gateway's URL, its attempt and its rank"),
        (["http://gateway", "att_1", "-1"], "t", b"the rank is a number, not -1"),
        (["http://gateway", "att_1", "\u0661"], "t", b"the rank is a number"),
        (["http://gateway", "att_1", "0"], "", b"NORDAN_POD_TOKEN"),
    ],
)
def test_a_pod_that_was_told_too_little_says_what_is_missing(told: list[str], token: str, wanted: bytes) -> None:
    argv = [sys.executable, "-m", "nordan_workers.pod", "agent", *told]
    done = subprocess.run(argv, capture_output=True, timeout=30, check=False, env={"NORDAN_POD_TOKEN": token})
    assert done.returncode == 1
    assert wanted in done.stderr


def test_nothing_heavy_is_imported() -> None:
    """A stager and an agent start for every rank: what the standard library lacks is left out."""
    script = "import sys, nordan_workers.pod.__main__\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30, check=True)
    found = {one.partition(".")[0] for one in done.stdout.decode().split()}
    assert found.isdisjoint({"pydantic", "httpx", "structlog", "asyncio", "cryptography", "starlette", "tarfile"})
