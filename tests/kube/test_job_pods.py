"""A job's pod on a real node: what it is given, what comes back, and that it ends in time whoever is away."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nordan_core.domain.reasons import Reason
from nordan_workers.executors.base import RankState
from nordan_workers.shim.frames import Kind
from support.kube.binaries import Unavailable
from support.kube.fixtures import skip_or_fail
from support.kube.job_pods import JobPods, agent_archive, job_pods
from support.kube.node_cluster import NodeCluster
from support.pod_shim import boot_s, programs
from support.sessions import SessionUnderTest


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return agent_archive(tmp_path_factory.mktemp("images"))
    except Unavailable as reason:
        skip_or_fail(reason)


@pytest.fixture(scope="module")
def pods(kube_node: NodeCluster, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobPods]:
    with job_pods(kube_node, tmp_path_factory.mktemp("region"), archive) as pods:
        yield pods


def test_a_job_finds_its_files_and_its_outputs_come_back(pods: JobPods) -> None:
    attempt = pods.launch(
        "print(os.environ['EPOCHS'], (inputs / 'digits/rows').read_text(), Path('train.py').read_text())\n"
        "print(checkpoints.joinpath('step-1').read_text(), os.getuid(), os.getcwd())\n"
        "(checkpoints / 'step-2').write_text('2'); (outputs / 'model').write_bytes(b'w' * 300_000); sys.exit(0)",
        env={"EPOCHS": "20"},
        files={"inputs/digits/rows": "1 2 3", "rank/train.py": "lines", "checkpoints/step-1": "1"},
    )
    [rank] = pods.end(attempt)
    assert rank.state is RankState.EXITED
    assert rank.exit is not None
    assert rank.exit.exit_code == 0, pods.log(attempt)
    assert rank.exit.max_rss_kib > 1000
    assert pods.log(attempt) == "20 1 2 3 lines\n1 65532 /nordan/rank\n"
    assert pods.folder(attempt, "checkpoints") == {"step-1": b"1", "step-2": b"2"}
    assert pods.folder(attempt, "outputs") == {"model": b"w" * 300_000}


def test_exit_codes_and_signals_are_told(pods: JobPods) -> None:
    code = pods.launch("print('no'); sys.exit(7)")
    killed = pods.launch("os.kill(os.getpid(), signal.SIGSEGV)")
    [rank] = pods.end(code)
    assert rank.exit is not None
    assert (rank.exit.exit_code, rank.exit.signal) == (7, None)
    [rank] = pods.end(killed)
    assert rank.exit is not None
    assert (rank.exit.exit_code, rank.exit.signal) == (None, signal.SIGSEGV)


def test_two_ranks_find_each_other_by_name(pods: JobPods) -> None:
    attempt = pods.launch(
        "address = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "if os.environ['NORDAN_NODE_RANK'] == '0':\n"
        "    with socket.create_server(('', address[1])) as server: print(server.accept()[0].recv(9).decode())\n"
        "else:\n"
        "    for _ in range(300):\n"
        "        try: there = socket.create_connection(address, 5)\n"
        "        except OSError: time.sleep(0.1)\n"
        "        else: there.sendall(b'from one'); break\n"
        "    print('sent')\n",
        ranks=2,
    )
    ranks = pods.end(attempt)
    assert [rank.exit.exit_code if rank.exit else None for rank in ranks] == [0, 0], pods.log(attempt, 1)
    assert pods.log(attempt, 0) == "from one\n"
    assert pods.log(attempt, 1) == "sent\n"


def test_logs_and_checkpoints_come_while_it_runs_and_a_stop_has_its_grace(pods: JobPods) -> None:
    attempt = pods.launch(
        "def save(*_):\n (checkpoints / 'last').write_text('saved'); print('saving'); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, save); (checkpoints / 'step-1').write_text('1'); print('begun')\n"
        "while True: time.sleep(0.05)"
    )
    pods.wait_for_log(attempt, "begun\n")
    pods.wait(attempt, lambda _: pods.folder(attempt, "checkpoints") == {"step-1": b"1"}, "the first checkpoint")
    pods.executor.stop(attempt, 5.0)
    [rank] = pods.end(attempt)
    assert rank.exit is not None
    assert rank.exit.exit_code == 5
    assert pods.log(attempt) == "begun\nsaving\n"
    assert pods.folder(attempt, "checkpoints") == {"step-1": b"1", "last": b"saved"}


def test_a_job_cannot_get_at_what_keeps_its_deadline(pods: JobPods) -> None:
    attempt = pods.launch(ATTACK)
    [rank] = pods.end(attempt)
    assert rank.exit is not None
    assert rank.exit.exit_code == 0, pods.log(attempt)
    assert pods.log(attempt).splitlines() == [
        "kill: the shim is still there",
        "write deadline: Read-only file system",
        "write shim: Read-only file system",
        "remount: Operation not permitted",
        "ptrace: Operation not permitted",
        "memory: Permission denied",
        "descriptors: Permission denied",
        "inputs: Read-only file system",
        "token: nowhere",
    ]


ATTACK = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
control = Path('/nordan/control')
for number in (signal.SIGKILL, signal.SIGSTOP): os.kill(1, number)
time.sleep(0.5)
state = Path('/proc/1/stat').read_text().rpartition(')')[2].split()[0]
print('kill: the shim is still there' if state in 'SR' else state)
def attempt(name, work):
    try: work()
    except OSError as error: print(f'{name}: {os.strerror(error.errno)}')
    else: print(f'{name}: done')
def called(result):
    if result: raise OSError(ctypes.get_errno(), '')
attempt('write deadline', lambda: (control / 'deadline').write_text('99999999999'))
attempt('write shim', lambda: (control / 'shim').write_bytes(b''))
attempt('remount', lambda: called(libc.mount(b'none', b'/nordan/control', None, 32 | 4096, None)))
libc.ptrace.argtypes = [ctypes.c_long] * 4
attempt('ptrace', lambda: called(libc.ptrace(16, 1, 0, 0)))
attempt('memory', lambda: open('/proc/1/mem', 'rb'))
attempt('descriptors', lambda: os.listdir('/proc/1/fd'))
attempt('inputs', lambda: (inputs / 'x').write_text('x'))
found = [name for name in os.environ if 'TOKEN' in name]
found += [str(one) for one in Path('/nordan').rglob('*') if one.is_file() and b'POD_TOKEN' in one.read_bytes()]
found += [str(one) for one in Path('/var/run/secrets').rglob('*')]
print('token:', found or 'nowhere')
"""


def test_a_command_runs_beside_the_job_and_nothing_of_it_is_left(pods: JobPods) -> None:
    """As the job's user, in its folder and environment; its end takes along what it started, the job goes on."""
    attempt = pods.launch("print('begun'); time.sleep(300)", env={"COLOUR": "green"})
    pods.wait_for_log(attempt, "begun")

    def run(*command: str, typed: bytes = b"", is_tty: bool = False) -> tuple[dict[str, Any], bytes]:
        one = SessionUnderTest(pods.executor, attempt).ready().start(*command, is_tty=is_tty, size=(100, 30))
        one.send(Kind.STDIN, typed)
        one.send(Kind.STDIN)
        ending = one.ends()
        one.close()
        return ending, one.stdout + one.stderr

    assert run("sh", "-c", "echo $COLOUR $NORDAN_ATTEMPT; id -u; pwd; exit 3") == (
        {"exit_code": 3},
        f"green {attempt}\n65532\n/nordan/rank\n".encode(),
    )
    assert run("cat", typed=b"hello") == ({"exit_code": 0}, b"hello")
    assert run("no-such-program")[0] == {"exit_code": 127}
    sized = "while os.get_terminal_size(0).columns != 100: time.sleep(0.05)\nprint(os.environ['TERM'], os.ttyname(0))"
    ending, shown = run("python", "-c", f"import os, time\n{sized}", is_tty=True)
    assert ending == {"exit_code": 0}, shown
    assert shown.split() == [b"xterm", b"/dev/pts/0"]
    run("sh", "-c", "setsid sleep 271 </dev/null >/dev/null 2>&1 & echo done")
    count = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    pods.wait(attempt, lambda _: run("sh", "-c", count)[1].count(b"sleep 271") == 0, "what it left is gone", 20)

    gone = SessionUnderTest(pods.executor, attempt).ready().start("sh", "-c", "trap '' HUP; echo in; sleep 272")
    gone.until(b"in").close()
    pods.wait(attempt, lambda _: run("sh", "-c", count)[1].count(b"sleep 272") == 0, "the command is gone", 20)

    last = SessionUnderTest(pods.executor, attempt).ready().start("sh", "-c", "trap '' HUP TERM; echo in; sleep 273")
    last.until(b"in")
    assert not pods.status(attempt).is_over
    pods.executor.stop(attempt, 0.0)
    assert last.ends()["error"] == "attempt_over"
    last.close()
    pods.end(attempt)


def test_too_much_memory_is_seen_as_that(pods: JobPods) -> None:
    attempt = pods.launch("print('eating')\nkept = []\nwhile True: kept.append(b'x' * 10_000_000)", memory_mib=192)
    [rank] = pods.end(attempt)
    assert rank.cause is Reason.OOM, (rank, pods.pod(attempt)["status"])


def test_a_grant_that_is_renewed_outlives_its_first_deadline(pods: JobPods) -> None:
    attempt = pods.launch("print('begun'); time.sleep(35); print('through')", ttl_s=30)
    pods.wait_for_log(attempt, "begun\n")
    pods.extend(attempt, 180)
    [rank] = pods.end(attempt)
    assert rank.exit is not None
    assert rank.exit.exit_code == 0
    assert pods.log(attempt) == "begun\nthrough\n"


def test_a_pod_ends_at_its_deadline_though_region_and_api_server_are_away(
    kube_node: NodeCluster, archive: Path, tmp_path: Path
) -> None:
    """Seen from the machine, on whose kernel the pod runs."""
    mark = f"mark{time.monotonic_ns()}"
    with job_pods(kube_node, tmp_path, archive) as pods:
        attempt = pods.launch(
            f"'{mark}'; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun')\nwhile True: time.sleep(1)",
            ttl_s=45,
        )
        pods.wait_for_log(attempt, "begun\n")
        pods.gateway.stop()
        with kube_node.plane.api_server.paused():
            deadline_s = json.loads((tmp_path / "attempts" / attempt / "deadline.json").read_text())["at_s"]
            assert boot_s() < deadline_s - 3.0, "the pod took too long to begin"
            while programs(mark):
                assert boot_s() < deadline_s + 5.0, "the program outlived its deadline"
                time.sleep(0.1)
            assert boot_s() > deadline_s - 1.0, "the program ended before its deadline"
        pods.end(attempt)
