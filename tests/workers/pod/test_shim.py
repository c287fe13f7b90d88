"""The shim of a pod starts a command when told, ends it in time whoever is away, and says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.pod_shim import ShimRun, boot_s, marked

SLEEPER = ["sh", "-c", "echo ready; sleep 600"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]


def lines(run: ShimRun) -> list[str]:
    """Return what the script said, without its shell's remark on the `sleep` that got the signal, too."""
    return [line for line in run.log().splitlines() if line != "Terminated"]


def test_the_exit_code_is_the_commands(run: ShimRun) -> None:
    run.allow()
    run.collected()
    run.start(["sh", "-c", "echo hello; echo there >&2; exit 7"])
    assert run.wait() == 7
    assert run.log() == "hello\nthere\n"
    assert run.process.stdout is not None
    assert run.process.stdout.read() == b"hello\nthere\n"
    record = run.record()
    assert (record["exit_code"], record["signal"], record["at_deadline"], record["oom"]) == (7, None, False, False)
    assert boot_s() - 30 < record["started_at_s"] <= record["ended_at_s"] <= boot_s()
    assert record["max_rss_kib"] > 100
    assert run.exit() == record


def test_a_signal_gives_128_and_its_number(run: ShimRun) -> None:
    run.allow()
    run.collected()
    run.start(["sh", "-c", "kill -SEGV $$"])
    assert run.wait() == 128 + signal.SIGSEGV
    assert (run.record()["exit_code"], run.record()["signal"]) == (None, signal.SIGSEGV)


def test_processor_time_is_recorded(plain: ShimRun) -> None:
    plain.allow()
    plain.collected()
    plain.start([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"])
    assert plain.wait() == 0
    assert 0.25 < plain.record()["user_s"] + plain.record()["system_s"] < 10


def test_nothing_starts_without_the_agents_word(run: ShimRun) -> None:
    run.start(["sh", "-c", "echo started"])
    time.sleep(0.5)
    assert run.log() == ""
    run.allow()
    run.wait_for("started")


def test_variables_of_the_start_file_come_on_top(run: ShimRun) -> None:
    run.allow(ADDED="a b=c\nd", CHANGED="new")
    run.collected()
    run.start(["sh", "-c", 'printf "%s|%s|%s" "$ADDED" "$CHANGED" "$KEPT"'], env={"CHANGED": "old", "KEPT": "kept"})
    assert run.wait() == 0
    assert run.log() == "a b=c\nd|new|kept"


@pytest.mark.parametrize("content", [b"NO_END=1", b"no equals sign\0", b"=no name\0"])
def test_a_malformed_start_file_starts_nothing(plain: ShimRun, content: bytes) -> None:
    plain.deadline(60)
    plain.write("start", content)
    process = plain.start(["sh", "-c", "echo started"])
    assert plain.wait() == 126
    assert process.stderr is not None
    assert b"malformed start file" in process.stderr.read()
    assert plain.log() == ""


def test_no_agent_at_all_gives_up(run: ShimRun) -> None:
    run.start(["sh", "-c", "echo started"], "--start-wait=0.3")
    assert run.wait() == 128 + signal.SIGTERM
    assert run.log() == ""
    record = run.record()
    assert (record["signal"], record["started_at_s"], record["at_deadline"]) == (signal.SIGTERM, None, True)


def test_a_command_that_is_not_there_is_127_with_a_sentence(run: ShimRun) -> None:
    run.allow()
    run.collected()
    run.start(["no-such-program", "x"])
    assert run.wait() == 127
    assert run.log() == "[nordan] no-such-program: command not found\n"


def test_a_command_that_is_no_program_is_126(plain: ShimRun, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    plain.allow()
    plain.collected()
    plain.start([str(tmp_path)])
    assert plain.wait() == 126
    assert "Permission denied" in plain.log()


def test_sigterm_is_passed_on_and_the_rest_is_up_to_the_command(run: ShimRun) -> None:
    run.allow()
    run.start(["sh", "-c", "trap 'echo saving; exit 3' TERM; echo ready; while :; do sleep 0.05; done"])
    run.wait_for("ready")
    run.collected()
    run.signal(signal.SIGTERM)
    assert run.wait() == 3
    assert lines(run) == ["ready", "saving"]
    assert run.record()["was_killed"] is False


def test_sigkill_follows_after_the_grace(run: ShimRun) -> None:
    run.allow()
    run.start(STUBBORN, "--grace=0.5")
    run.wait_for("ready")
    asked_s = time.monotonic()
    run.signal(signal.SIGTERM)
    # It was killed, so nobody is waited for: there is no `collected`.
    assert run.wait() == 128 + signal.SIGKILL
    assert 0.4 < time.monotonic() - asked_s < 5
    record = run.record()
    assert (record["signal"], record["was_killed"], record["at_deadline"], record["oom"]) == (9, True, False, False)


def test_a_deadline_that_passes_ends_the_command(run: ShimRun) -> None:
    run.allow(1.5)
    run.start(STUBBORN, "--deadline-grace=0.5")
    run.wait_for("ready")
    assert run.wait() == 128 + signal.SIGKILL
    record = run.record()
    assert record["at_deadline"] is True
    deadline_s = float((run.control / "deadline").read_text())
    assert deadline_s <= record["ended_at_s"] < deadline_s + 3


def test_sigterm_comes_before_the_deadline(plain: ShimRun) -> None:
    plain.allow(2.0)
    plain.start(["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"], "--deadline-grace=1.5")
    plain.wait_for("ready")
    plain.collected()
    assert plain.wait() == 0
    record = plain.record()
    assert record["at_deadline"] is True
    assert record["ended_at_s"] < float((plain.control / "deadline").read_text())


def test_a_deadline_that_moves_on_keeps_the_command_alive(run: ShimRun) -> None:
    run.allow(1.0)
    run.start(SLEEPER, "--deadline-grace=0.2")
    run.wait_for("ready")
    for _ in range(6):
        time.sleep(0.3)
        run.deadline(1.0)
    assert run.process.poll() is None
    assert run.wait() == 128 + signal.SIGTERM


def test_a_deadline_that_moves_back_counts_at_once(run: ShimRun) -> None:
    run.allow()
    run.start(SLEEPER)
    run.wait_for("ready")
    run.deadline(0.0)
    run.collected()
    assert run.wait(5) in {128 + signal.SIGTERM, 128 + signal.SIGKILL}
    assert run.record()["at_deadline"] is True


@pytest.mark.parametrize(
    "content",
    ["", "soon\n", "nan\n", "inf\n", "1e99\n", "-5\n", "0x7fffffff\n", "99999999999", "99999999999\n\n", "9 9\n"],
)
def test_a_deadline_that_cannot_be_read_has_passed(plain: ShimRun, content: str) -> None:
    plain.allow()
    plain.start(SLEEPER)
    plain.wait_for("ready")
    plain.write("deadline", content)
    assert plain.wait(5) in {128 + signal.SIGTERM, 128 + signal.SIGKILL}
    assert plain.record()["at_deadline"] is True


def test_a_deadline_that_is_removed_has_passed(run: ShimRun) -> None:
    run.allow()
    run.start(SLEEPER)
    run.wait_for("ready")
    (run.control / "deadline").unlink()
    assert run.wait(5) in {128 + signal.SIGTERM, 128 + signal.SIGKILL}


def test_a_word_to_start_without_a_deadline_starts_nothing(plain: ShimRun) -> None:
    plain.write("start", b"")
    plain.start(["sh", "-c", "echo started"])
    assert plain.wait(5) == 128 + signal.SIGTERM
    assert plain.log() == ""


def test_the_stop_file_asks_first_and_kills_then(run: ShimRun) -> None:
    run.allow()
    run.start(["sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"])
    run.wait_for("ready")
    run.stop(0.5)
    assert run.wait(5) == 128 + signal.SIGKILL
    assert lines(run) == ["ready", "asked"]
    assert (run.record()["was_killed"], run.record()["at_deadline"]) == (True, False)


def test_a_stop_without_grace_is_prompt(run: ShimRun) -> None:
    run.allow()
    run.start(STUBBORN)
    run.wait_for("ready")
    asked_s = time.monotonic()
    run.stop(0.0)
    assert run.wait(5) == 128 + signal.SIGKILL
    assert time.monotonic() - asked_s < 1.5


def test_a_malformed_stop_file_stops_nothing(plain: ShimRun) -> None:
    plain.allow()
    plain.start(SLEEPER)
    plain.wait_for("ready")
    plain.write("stop", "now\n")
    time.sleep(0.4)
    assert plain.process.poll() is None


def test_a_stop_before_the_start_means_that_nothing_starts(run: ShimRun) -> None:
    run.deadline(60)
    run.stop(5.0)
    run.start(["sh", "-c", "echo started"])
    assert run.wait(5) == 128 + signal.SIGTERM
    assert (run.log(), run.record()["at_deadline"]) == ("", False)


def test_the_shim_waits_until_the_agent_has_collected(run: ShimRun) -> None:
    run.allow()
    run.start(["true"])
    while run.exit() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    assert run.process.poll() is None
    # The end is told before the wait, so a container that is killed now has said everything.
    assert run.record()["exit_code"] == 0
    run.collected()
    assert run.wait(5) == 0


def test_the_wait_for_the_agent_ends_at_the_deadline(run: ShimRun) -> None:
    run.allow(1.0)
    run.start(["true"], "--deadline-grace=0.1")
    assert run.wait(5) == 0


def test_the_wait_for_the_agent_ends_a_grace_after_sigterm(run: ShimRun) -> None:
    run.allow()
    run.start(["true"], "--grace=0.3")
    while run.exit() is None:
        time.sleep(0.01)
    run.signal(signal.SIGTERM)
    assert run.wait(5) == 0


def test_what_escapes_the_session_dies_with_the_command(run: ShimRun) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    escape = f"setsid sh -c '(setsid sh -c \"trap : TERM HUP; while :; do sleep 0.1; done\" x{mark} &) &' & exit 0"
    run.allow()
    run.collected()
    run.start(["sh", "-c", f"{escape.replace('& exit 0', '&')} while ! ls >/dev/null; do :; done; sleep 0.5; exit 4"])
    assert run.wait() == 4
    assert marked(mark) == []


def test_a_program_that_forks_all_the_time_is_killed(run: ShimRun) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    fork_on = "import os, time\nfor _ in range(2000):\n  if os.fork(): os._exit(0)\n  os.setsid()\ntime.sleep(600)"
    run.allow()
    run.start([sys.executable, "-c", f"print('ready', flush=True)\n{fork_on}", mark])
    run.wait_for("ready")
    run.collected()
    run.stop(0.0)
    run.wait()
    assert marked(mark) == []


def test_a_log_of_300_mb_is_cut(plain: ShimRun) -> None:
    plain.allow()
    plain.collected()
    process = plain.start(["sh", "-c", "head -c 300000000 /dev/zero | tr '\\0' x; echo; echo the end"])
    assert process.stdout is not None
    with Path("/dev/null").open("wb") as sink:
        copied = subprocess.run(["wc", "-c"], stdin=process.stdout, stdout=subprocess.PIPE, check=True).stdout
        sink.write(copied)
    assert plain.wait(60) == 0
    size = (plain.log_dir / "rank.log").stat().st_size
    line = b"\n[nordan] the log has reached 268435456 bytes; the rest is dropped\n"
    assert size == (256 << 20) + len(line) == int(copied)
    with (plain.log_dir / "rank.log").open("rb") as file:
        file.seek(-len(line), os.SEEK_END)
        assert file.read() == line
    (plain.log_dir / "rank.log").unlink()


def test_a_reader_who_stalls_holds_up_neither_log_nor_deadline(plain: ShimRun) -> None:
    plain.allow()
    plain.start(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo the end; sleep 600"])
    # Nobody reads the pipe behind standard output, which holds 64 KiB.
    plain.wait_for("the end")
    plain.collected()
    plain.stop(0.0)
    assert plain.wait(10) in {128 + signal.SIGTERM, 128 + signal.SIGKILL}


def test_the_command_finds_an_empty_input_and_nothing_of_the_shims(plain: ShimRun) -> None:
    plain.allow()
    plain.collected()
    script = """
import os, resource, signal, sys
print(sys.stdin.read() == "", sorted(int(n) for n in os.listdir("/proc/self/fd")))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGPIPE).name)
print(os.getsid(0) == os.getpid(), resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""
    plain.start([sys.executable, "-I", "-c", script])
    assert plain.wait() == 0
    # Python itself ignores SIGPIPE; the listing of the folder is descriptor 3.
    assert plain.log().splitlines() == [
        "True [0, 1, 2, 3]",
        "set() SIG_IGN",
        "True (0, 0) 0o77",
    ]


def test_whatever_the_program_writes_as_the_record_gives_way(plain: ShimRun) -> None:
    plain.allow()
    plain.collected()
    plain.start(["sh", "-c", f"head -c 5000 /dev/zero > {plain.record_path}; mkdir {plain.log_dir}/exit; exit 5"])
    assert plain.wait() == 5
    assert plain.record()["exit_code"] == 5
    assert plain.exit() == plain.record()


@pytest.mark.root
def test_the_first_process_withstands_its_job(shim_binary: Path, tmp_path: Path) -> None:
    """From inside its namespace the shim is neither killed nor stopped nor traced, nor are its files opened."""
    if os.geteuid() != 0:
        pytest.skip("a PID namespace of one's own needs root")
    run = ShimRun(shim_binary, tmp_path, is_init=True, uid=65532)
    run.allow()
    run.collected()
    try:
        run.start(["/usr/bin/python3", "-I", "-c", ATTACK])
        assert run.wait() == 0, run.log()
        assert run.log().splitlines() == [
            "kill -9: still there",
            "kill -STOP: still there",
            "ptrace: EPERM",
            "mem: EACCES",
            "fd: EACCES",
        ]
    finally:
        run.clean_up()


ATTACK = """
import ctypes, errno, os, signal, time

for name in ("9", "STOP"):
    os.kill(1, signal.SIGKILL if name == "9" else signal.SIGSTOP)
    time.sleep(0.2)
    state = open("/proc/1/stat").read().rpartition(")")[2].split()[0]
    print(f"kill -{name}:", "still there" if state in "SR" else state, flush=True)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
libc.ptrace(16, 1, 0, 0)
print("ptrace:", errno.errorcode[ctypes.get_errno()], flush=True)
for name, look in (("mem", lambda: open("/proc/1/mem", "rb")), ("fd", lambda: os.listdir("/proc/1/fd"))):
    try:
        look()
        print(name, "open")
    except OSError as error:
        print(f"{name}:", errno.errorcode[error.errno], flush=True)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--"],
        ["--grace=soon", "--", "true"],
        ["--control=relative", "--", "true"],
        ["--unknown=1", "--", "true"],
        ["true"],
        ["--log-limit=0", "--", "true"],
    ],
)
def test_a_wrong_command_line_is_refused_with_a_sentence(shim_binary: Path, arguments: list[str]) -> None:
    done = subprocess.run([str(shim_binary), *arguments], capture_output=True, timeout=10, check=False)
    assert done.returncode == 64
    assert done.stderr.startswith(b"[nordan] ")


class TestVisits:
    """Commands beside the job's, for interactive sessions."""

    def test_a_visit_is_the_command_with_the_jobs_variables_and_a_mark(self, plain: ShimRun) -> None:
        plain.allow(COLOUR="green", NORDAN_SESSION="forged")
        visit = plain.start(["sh", "-c", "echo $COLOUR $TERM $NORDAN_SESSION; exit 5"], "--visit=a1", "--term=xterm")
        out, _ = visit.communicate(timeout=20)
        assert (visit.returncode, out) == (5, b"green xterm a1\n")
        assert not plain.record_path.exists(), "the end of a visit is no end of the job's"
        assert plain.log() == ""

    def test_a_visit_before_the_job_begins_starts_nothing(self, plain: ShimRun) -> None:
        visit = plain.start(["echo", "no"], "--visit=a1")
        out, err = visit.communicate(timeout=20)
        assert (visit.returncode, out) == (126, b"")
        assert b"the job has not begun" in err

    def test_a_command_of_a_visit_that_is_not_there_is_127(self, plain: ShimRun) -> None:
        plain.allow()
        visit = plain.start(["no-such-program"], "--visit=a1")
        _, err = visit.communicate(timeout=20)
        assert visit.returncode == 127
        assert b"command not found" in err

    def test_leaving_ends_all_that_a_visit_started_and_nothing_else(self, plain: ShimRun) -> None:
        mark, other = f"mark-{os.getpid()}-{time.time_ns()}", f"other-{os.getpid()}-{time.time_ns()}"
        plain.allow()
        for word, name in (("a1", mark), ("a12", other)):
            script = f"exec >/dev/null 2>&1; for n in 1 2; do setsid sh -c 'sleep 60; :' {name} & done; sleep 0.5"
            plain.start(["sh", "-c", script], f"--visit={word}").communicate(timeout=20)
        assert len(marked(mark)) == 2
        assert plain.leave("a1") == 0
        assert marked(mark) == []
        assert len(marked(other)) == 2
        assert plain.leave("a12") == 0
        assert marked(other) == []
        assert plain.leave("a1") == 0, "there is nothing to end, which is no fault"
