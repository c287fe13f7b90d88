"""Commands beside a rank's program: the same user and folder, and never alive without the rank."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nordan_core.domain.errors import NotFound
from nordan_core.wire import LaunchOrder
from nordan_workers.executors.local import LocalExecutor
from nordan_workers.shim import frames, linux
from nordan_workers.shim.frames import BadFrame, Kind
from nordan_workers.shim.records import CLOSED
from support.attempts import launch_order, until
from support.sessions import SessionUnderTest

MakeExecutor = Callable[[], LocalExecutor]


def launched(executor: LocalExecutor, order: LaunchOrder, life_s: float = 60.0) -> LaunchOrder:
    folders = executor.prepare(order)
    executor.seal(folders)
    executor.launch(order, folders, time.clock_gettime(time.CLOCK_BOOTTIME) + life_s)
    until(lambda: executor.poll(order.attempt_id).is_started, "the rank starts")  # type: ignore[arg-type]
    return order


@pytest.fixture
def order(executor: LocalExecutor) -> LaunchOrder:
    return launched(executor, launch_order(("sleep", "60"), env={"COLOUR": "green"}))


@pytest.fixture
def opened(executor: LocalExecutor) -> Iterator[Callable[..., SessionUnderTest]]:
    made: list[SessionUnderTest] = []

    def open_one(order: LaunchOrder, rank: int = 0) -> SessionUnderTest:
        made.append(SessionUnderTest(executor, order.attempt_id, rank))
        return made[-1].ready()

    yield open_one
    for one in made:
        one.close()


def keepers(region_dir: Path, order: LaunchOrder) -> list[int]:
    found = (region_dir / "attempts" / order.attempt_id).glob("rank-*/keeper-*.json")
    return [json.loads(path.read_text())["pid"] for path in found]


def living(mark: str) -> list[int]:
    """Return the processes that have a word of the test's own among their arguments."""
    found = []
    for one in linux.processes():
        try:
            words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if one.is_alive and mark.encode() in words:
            found.append(one.pid)
    return found


def fill(one: SessionUnderTest) -> None:
    """Send until nothing more is taken."""
    one.line.settimeout(0.3)
    with pytest.raises(TimeoutError):
        one.line.sendall(frames.pack(Kind.STDIN, bytes(60_000)) * 100)
    one.line.settimeout(15)


Opened = Callable[..., SessionUnderTest]


class TestWhatItIs:
    """The command is what the program is."""

    def test_it_gets_its_input_and_its_ends_are_told_apart(self, order: LaunchOrder, opened: Opened) -> None:
        one = opened(order).start("sh", "-c", "cat; echo to-err >&2; exit 3")
        one.send(Kind.STDIN, b"hello ")
        one.send(Kind.STDIN, b"there")
        one.send(Kind.STDIN)
        assert one.ends() == {"exit_code": 3}
        assert (one.stdout, one.stderr) == (b"hello there", b"to-err\n")

    def test_it_is_the_attempts_user_in_its_folder_with_its_environment(
        self, executor: LocalExecutor, order: LaunchOrder, opened: Opened
    ) -> None:
        one = opened(order).start("sh", "-c", "id -u; pwd; echo $COLOUR $NORDAN_ATTEMPT; umask")
        assert one.ends() == {"exit_code": 0}
        pid = executor.poll(order.attempt_id).ranks[0].pid  # type: ignore[arg-type]
        assert pid is not None
        cwd = Path(f"/proc/{pid}/cwd").readlink()
        told = one.stdout.decode().splitlines()
        assert told == [str(linux.user_of(pid)), str(cwd), f"green {order.attempt_id}", "0077"]

    def test_a_signal_is_told_as_one(self, order: LaunchOrder, opened: Opened) -> None:
        assert opened(order).start("sh", "-c", "kill -9 $$").ends() == {"signal": 9}

    @pytest.mark.parametrize("is_tty", [False, True])
    def test_what_is_not_there_says_so_as_a_shell_does(
        self, order: LaunchOrder, opened: Opened, *, is_tty: bool
    ) -> None:
        one = opened(order).start("no-such-program", is_tty=is_tty)
        assert one.ends() == {"exit_code": 127}
        assert b"no-such-program: command not found" in one.stdout + one.stderr

    def test_it_can_gain_no_privileges(self, order: LaunchOrder, opened: Opened) -> None:
        one = opened(order).start("grep", "NoNewPrivs", "/proc/self/status")
        one.ends()
        assert one.stdout.split() == [b"NoNewPrivs:", b"1"]

    def test_it_inherits_nothing_of_nordans(self, order: LaunchOrder, opened: Opened) -> None:
        one = opened(order).start("sh", "-c", "ls /proc/$$/fd")
        one.ends()
        assert set(one.stdout.split()) <= {b"0", b"1", b"2", b"10", b"255"}

    def test_its_rank_is_the_one_asked_for(self, executor: LocalExecutor, opened: Opened) -> None:
        gang = launched(executor, launch_order(("sleep", "60"), ranks=2))
        one = opened(gang, 1).start("sh", "-c", "echo $NORDAN_NODE_RANK")
        one.ends()
        assert one.stdout == b"1\n"

    def test_a_terminal_is_its_own_and_has_the_size_of_the_window(self, order: LaunchOrder, opened: Opened) -> None:
        script = "trap 'stty size' WINCH; test -t 0 && test -t 2 && stty size && echo $TERM && tty >/dev/tty"
        script += "; until read x; do :; done"
        one = opened(order).start("sh", "-c", script, is_tty=True, size=(100, 30)).until(b"xterm").until(b"/dev/pts/")
        assert b"30 100" in one.stdout
        one.send(Kind.RESIZE, b"[120, 40]")
        one.until(b"40 120")
        one.send(Kind.STDIN, b"\n")
        assert one.ends() == {"exit_code": 0}

    def test_ctrl_c_is_for_the_command_at_the_terminal(self, order: LaunchOrder, opened: Opened) -> None:
        script = "trap 'exit 5' INT; echo begun; while true; do sleep 0.1; done"
        one = opened(order).start("sh", "-c", script, is_tty=True).until(b"begun")
        one.send(Kind.STDIN, b"\x03")
        assert one.ends() == {"exit_code": 5}

    def test_the_end_of_the_input_ends_who_reads_a_terminal(self, order: LaunchOrder, opened: Opened) -> None:
        one = opened(order).start("cat", is_tty=True)
        one.send(Kind.STDIN, b"word\n")
        one.send(Kind.STDIN)
        assert one.ends() == {"exit_code": 0}
        assert one.stdout.count(b"word") == 2

    def test_much_output_comes_whole_however_slowly_it_is_read(self, order: LaunchOrder, opened: Opened) -> None:
        one = opened(order).start("head", "-c", "3000000", "/dev/zero")
        time.sleep(0.3)
        assert one.ends() == {"exit_code": 0}
        assert len(one.stdout) == 3_000_000

    def test_a_command_that_does_not_read_stops_the_sender_and_not_the_keeper(
        self, order: LaunchOrder, opened: Opened
    ) -> None:
        one = opened(order).start("sh", "-c", "sleep 0.5; echo done")
        fill(one)
        one.line.settimeout(15)
        assert one.ends() == {"exit_code": 0}
        assert one.stdout == b"done\n"


class TestWhatEndsIt:
    """Nothing of it is left behind by whatever ends it."""

    def test_what_it_left_in_the_background_ends_with_it(self, order: LaunchOrder, opened: Opened) -> None:
        mark = str(time.time_ns())
        one = opened(order).start("sh", "-c", f"setsid sh -c 'sleep 61' {mark} & echo begun", mark).until(b"begun")
        assert one.ends() == {"exit_code": 0}
        assert living(mark) == []

    @pytest.mark.parametrize("is_tty", [False, True])
    def test_whoever_hangs_up_ends_it(self, order: LaunchOrder, opened: Opened, *, is_tty: bool) -> None:
        """Also one that does not hear of it."""
        mark = str(time.time_ns())
        script = "trap '' HUP TERM; echo begun; while true; do sleep 0.1; done"
        one = opened(order).start("sh", "-c", script, mark, is_tty=is_tty).until(b"begun")
        # Two while the shell makes a child of itself.
        assert living(mark)
        one.close()
        until(lambda: not living(mark), "the command is gone", 5.0)

    def test_it_hears_that_nobody_is_there_any_more(
        self, order: LaunchOrder, opened: Opened, executor: LocalExecutor
    ) -> None:
        one = opened(order).start("sh", "-c", "trap 'echo saved > note; exit' HUP; echo begun; sleep 60 & wait")
        one.until(b"begun").close()
        folders = executor.prepare(order)
        until((folders.ranks[0].cwd / "note").exists, "the command has said its last word")

    def test_a_gateway_that_dies_while_its_end_is_full_ends_it(self, order: LaunchOrder, opened: Opened) -> None:
        """Nothing can be moved either way; that nobody is there is heard all the same."""
        mark = str(time.time_ns())
        one = opened(order).start("sh", "-c", "echo begun; sleep 60", mark).until(b"begun")
        fill(one)
        one.close()
        until(lambda: not living(mark), "the command is gone", 5.0)

    def test_it_does_not_outlive_the_program(self, executor: LocalExecutor, opened: Opened) -> None:
        mark = str(time.time_ns())
        order = launched(executor, launch_order(("sh", "-c", "until test -e go; do sleep 0.05; done")))
        one = opened(order).start("sh", "-c", "trap '' TERM; touch go; sleep 60", mark)
        assert one.ends()["error"] == "attempt_over"
        assert living(mark) == []
        until(lambda: executor.poll(order.attempt_id).is_over, "the rank is over")  # type: ignore[arg-type]

    def test_when_the_rank_is_told_to_be_over_its_sessions_are(
        self, executor: LocalExecutor, opened: Opened, region_dir: Path
    ) -> None:
        """What they write must not come after the outputs were collected."""
        mark = str(time.time_ns())
        order = launched(executor, launch_order(("sh", "-c", "until test -e go; do sleep 0.02; done")))
        ones = [opened(order) for _ in range(3)]
        for one in ones:
            one.start("sh", "-c", "touch go; sleep 60", mark)
        until(lambda: executor.poll(order.attempt_id).is_over, "the rank is over")  # type: ignore[arg-type]
        assert living(mark) == []
        assert keepers(region_dir, order) == []
        assert [one.ends()["error"] for one in ones] == ["attempt_over"] * 3

    def test_a_rank_that_is_ending_takes_none_any_more(
        self, order: LaunchOrder, opened: Opened, region_dir: Path
    ) -> None:
        """Its shim lives, and has looked for sessions already."""
        (region_dir / "attempts" / order.attempt_id / "rank-0" / CLOSED).touch()
        with pytest.raises(BadFrame):
            opened(order)

    def test_a_keeper_that_hangs_does_not_keep_its_command(
        self, executor: LocalExecutor, opened: Opened, region_dir: Path
    ) -> None:
        """It is killed with all that it keeps, and only then the rank is over."""
        mark = str(time.time_ns())
        order = launched(executor, launch_order(("sh", "-c", "until test -e go; do sleep 0.02; done")))
        opened(order).start("sh", "-c", f"setsid sh -c 'sleep 62' {mark} & echo begun; wait", mark).until(b"begun")
        [keeper] = keepers(region_dir, order)
        os.kill(keeper, signal.SIGSTOP)
        opened_order = json.loads((region_dir / "attempts" / order.attempt_id / "rank-0" / "order.json").read_text())
        Path(opened_order["cwd"], "go").touch()
        until(lambda: executor.poll(order.attempt_id).is_over, "the rank is over")  # type: ignore[arg-type]
        assert living(mark) == []

    def test_it_does_not_outlive_the_deadline_though_nobody_is_there(
        self, executor: LocalExecutor, opened: Opened, region_dir: Path
    ) -> None:
        """Supervisor and shims' parent are dead; a gang's shim kills only what is below it."""
        mark = str(time.time_ns())
        order = launched(executor, launch_order(("sleep", "60"), ranks=2), life_s=3.0)
        one = opened(order, 1).start("sh", "-c", "trap '' TERM HUP; echo begun; sleep 60", mark).until(b"begun")
        [keeper] = keepers(region_dir, order)
        parent = linux.process(keeper)
        assert parent is not None
        os.kill(parent.parent, signal.SIGKILL)
        assert one.ends()["error"] == "attempt_over"
        assert living(mark) == []

    def test_a_fence_ends_it_at_once(self, executor: LocalExecutor, order: LaunchOrder, opened: Opened) -> None:
        mark = str(time.time_ns())
        one = opened(order).start("sh", "-c", "trap '' TERM HUP; echo begun; sleep 60", mark).until(b"begun")
        executor.stop(order.attempt_id, 0.0)  # type: ignore[arg-type]
        assert one.ends()["error"] == "attempt_over"
        assert living(mark) == []

    def test_a_shim_that_is_killed_takes_its_sessions_along(
        self, executor: LocalExecutor, order: LaunchOrder, opened: Opened, region_dir: Path
    ) -> None:
        mark = str(time.time_ns())
        one = opened(order).start("sh", "-c", "echo begun; sleep 60", mark).until(b"begun")
        claim = json.loads((region_dir / "attempts" / order.attempt_id / "rank-0" / "claim.json").read_text())
        os.kill(claim["shim_pid"], signal.SIGKILL)
        assert one.ends()["error"] == "attempt_over"
        until(lambda: not living(mark), "the command is gone", 5.0)

    def test_a_keeper_that_is_killed_leaves_nothing(self, order: LaunchOrder, opened: Opened, region_dir: Path) -> None:
        """The command dies with its parent, and what it started in sessions of its own by the shims' parent."""
        mark = str(time.time_ns())
        script = f"setsid sh -c 'sleep 61' {mark} & echo begun; wait"
        one = opened(order).start("sh", "-c", script, mark)
        one.until(b"begun")
        [keeper] = keepers(region_dir, order)
        os.kill(keeper, signal.SIGKILL)
        until(lambda: not living(mark), "nothing is left", 5.0)

    def test_the_executor_may_go_and_come_meanwhile(
        self, executor: LocalExecutor, make_executor: MakeExecutor, order: LaunchOrder, opened: Opened
    ) -> None:
        one = opened(order).start("cat")
        executor.close()
        second = make_executor()
        one.send(Kind.STDIN, b"still here")
        one.until(b"still here")
        other = SessionUnderTest(second, order.attempt_id).ready().start("echo", "also here")
        assert other.ends() == {"exit_code": 0}
        other.close()
        one.send(Kind.STDIN)
        assert one.ends() == {"exit_code": 0}

    def test_the_program_goes_on_when_a_session_ends(
        self, executor: LocalExecutor, order: LaunchOrder, opened: Opened
    ) -> None:
        opened(order).start("true").ends()
        opened(order).start("sleep", "60").close()
        time.sleep(0.3)
        assert executor.poll(order.attempt_id).is_started  # type: ignore[arg-type]
        assert not executor.poll(order.attempt_id).is_over  # type: ignore[arg-type]


class TestWhatIsRefused:
    """Before anything is started."""

    def test_an_attempt_or_a_rank_that_is_not_here_is_not_found(
        self, executor: LocalExecutor, order: LaunchOrder
    ) -> None:
        for attempt_id, rank in ((launch_order().attempt_id, 0), (order.attempt_id, 1)):
            with pytest.raises(NotFound):
                SessionUnderTest(executor, attempt_id, rank)

    def test_a_rank_that_has_ended_is_over(self, executor: LocalExecutor) -> None:
        order = launched(executor, launch_order(("true",)))
        until(lambda: executor.poll(order.attempt_id).is_over, "the rank is over")  # type: ignore[arg-type]
        one = SessionUnderTest(executor, order.attempt_id)
        assert one.ends()["error"] == "attempt_over"
        one.close()

    @pytest.mark.parametrize(
        "start",
        [b"", b"[]", b"{}", b'{"command": []}', b'{"command": "sh"}', b'{"command": [1]}', b'{"command": ["a\\u0000"]}',
         b'{"command": ["sh"], "size": [1]}', b'{"command": ["sh"], "size": [true, 2]}'],
    )  # fmt: skip
    def test_a_start_of_another_form_is_a_bad_request(self, order: LaunchOrder, opened: Opened, start: bytes) -> None:
        one = opened(order)
        one.send(Kind.START, start)
        assert one.ends()["error"] == "bad_request"

    def test_bytes_that_are_no_frame_end_it(self, order: LaunchOrder, opened: Opened) -> None:
        mark = str(time.time_ns())
        one = opened(order).start("sh", "-c", "echo begun; sleep 60", mark).until(b"begun")
        one.line.sendall(b"\xff" * 100)
        until(lambda: not living(mark), "the command is gone", 5.0)
