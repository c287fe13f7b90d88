"""The shim: starts one rank, keeps its deadline, and writes down how it ended.

Forked by the warm parent, one per rank, in a session of its own. It asks nobody: what it must know is in its order,
in the deadline that the executor keeps moving, and in the stop file. It needs no supervisor to end the rank in time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from nordan_core.clock import SystemClock
from nordan_workers.shim import linux
from nordan_workers.shim.control import Control
from nordan_workers.shim.job import become_job
from nordan_workers.shim.log import Pump, RankLog
from nordan_workers.shim.records import (
    CLAIM,
    CLOSED,
    EXIT,
    ORDER,
    PID,
    Claim,
    ExitRecord,
    PidRecord,
    RankOrder,
    create,
    keepers,
    read,
    write,
)

#: How long a new deadline or stop may go unnoticed when the signal that announces it was lost with its sender. Each
#: round costs some 100 us; hundreds of idle shims share the machine with jobs.
POLL_S = 2.0
#: SIGTERM to the shim itself means that somebody takes the machine down: the rank gets this long.
SHUTDOWN_GRACE_S = 5.0
#: How often, once a second, a full disk is tried again before a rank that ended is given up as lost.
EXIT_TRIES = 60
#: How long keepers of interactive sessions may take to end theirs, before they are killed.
SESSIONS_S = 3.0
#: How long the log may take to reach a slow disk before the end is written without its tail.
DRAIN_S = 5.0


def run_rank(rank_dir: Path) -> None:
    """Run the rank to its end; return at once when another shim has taken it. Raises OSError for a broken folder."""
    # 1. Take the rank, or leave it to who has it.
    me = Claim(linux.boot_id(), os.getpid(), linux.own_start_time())
    if not create(rank_dir / CLAIM, me):
        return
    order = read(rank_dir / ORDER, RankOrder)
    assert order is not None
    linux.become_subreaper()
    waker = Waker()
    control = Control(rank_dir.parent, me.boot_id, order.deadline_grace_s)
    # 2. Start the program, unless it was stopped before it began.
    kills_before = linux.oom_kills()
    ending = Ending()
    if control.schedule().term_at_s > control.now():
        child, pump = _start(order, rank_dir, me)
        _tell(order)
        # 3. Watch until it ends, and end it in time.
        ending = _watch(child, control, waker, order)
        _end_sessions(rank_dir, me.boot_id)
        _kill_rest(order)
        pump.join(DRAIN_S)
    else:
        ending = Ending(signal=int(signal.SIGTERM), at_deadline=control.schedule().is_term_by_deadline)
    # 4. Write down how it ended, and wake whoever listens.
    was_oom = ending.signal == signal.SIGKILL and not ending.was_killed and linux.oom_kills() > kills_before
    _write_exit(rank_dir, _exit_record(ending, control.now(), was_oom=was_oom))
    _tell(order)


@dataclass(slots=True)
class Ending:
    """What is known so far of how the rank ends."""

    exit_code: int | None = None
    signal: int | None = None
    at_deadline: bool = False
    was_killed: bool = False
    """The shim sent SIGKILL itself."""


def _start(order: RankOrder, rank_dir: Path, me: Claim) -> tuple[int, Pump]:
    log = RankLog(Path(order.log), order.log_limit_bytes)
    source, output = os.pipe2(os.O_CLOEXEC)
    gate_out, gate_in = os.pipe2(os.O_CLOEXEC)
    # Held back until the child has put its own handlers in place: one that comes between would reach the shim's copy of
    # a handler there, and the program would never hear of it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, Waker.SIGNALS)
    child = os.fork()
    if child == 0:
        os.close(gate_in)
        become_job(order, output=output, gate=gate_out)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(output)
    os.close(gate_out)
    found = linux.process(child)
    assert found is not None, "a child stays in /proc until it is reaped"
    now_s = SystemClock().monotonic()
    record = PidRecord(me.boot_id, child, found.start_time, me.shim_pid, me.shim_start_time, started_at_s=now_s)
    write(rank_dir / PID, record, is_durable=True)
    with contextlib.suppress(BrokenPipeError):
        os.write(gate_in, b"g")
    os.close(gate_in)
    pump = Pump(source, log)
    pump.start()
    return child, pump


def _watch(child: int, control: Control, waker: Waker, order: RankOrder) -> Ending:
    ending = Ending()
    is_terminated = False
    kill_at_s = float("inf")
    poll = select.poll()
    for descriptor in (os.pidfd_open(child), waker.descriptor):
        poll.register(descriptor, select.POLLIN)
    while (status := linux.reap(child)) is None:
        now_s, plan = control.now(), control.schedule()
        if not is_terminated and (plan.term_at_s <= now_s or waker.is_shutdown):
            is_terminated, ending.at_deadline = True, plan.is_term_by_deadline and plan.term_at_s <= now_s
            # A deadline that moves on later does not bring back what was already told to go.
            kill_at_s = plan.kill_at_s if plan.term_at_s <= now_s else now_s + SHUTDOWN_GRACE_S
            _terminate(child)
        if is_terminated and min(kill_at_s, plan.kill_at_s) <= now_s:
            ending.was_killed = True
            ending.at_deadline = ending.at_deadline or (plan.is_kill_by_deadline and plan.kill_at_s <= now_s)
            _kill(order)
        due_s = min(kill_at_s, plan.kill_at_s) if is_terminated else plan.term_at_s
        poll.poll(1000 * _pause_s(due_s - now_s))
        waker.clear()
    code = os.waitstatus_to_exitcode(status)
    ending.exit_code, ending.signal = (code, None) if code >= 0 else (None, -code)
    return ending


def _terminate(child: int) -> None:
    # The program is not reaped yet, so its number is its own; the group is gone if it moved to another.
    try:
        os.killpg(child, signal.SIGTERM)
    except ProcessLookupError:
        os.kill(child, signal.SIGTERM)


def _pause_s(left_s: float) -> float:
    # At least a little: a process that cannot be killed (a hung driver) must not make its shim spin.
    return min(POLL_S, max(0.02, left_s))


class Waker:
    """Ends the shim's waiting: SIGUSR1 says that a file changed, SIGTERM that the machine goes down."""

    SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

    def __init__(self) -> None:
        self.descriptor, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.is_shutdown = False
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, lambda _number, _frame: self._note_shutdown())

    def clear(self) -> None:
        """Forget the signals that came until now."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)

    def _note_shutdown(self) -> None:
        self.is_shutdown = True


def _end_sessions(rank_dir: Path, boot_id: str) -> None:
    """Have the rank's interactive sessions end, and return when they have: what they do must not come after the end.

    A keeper that hangs is killed, and what it keeps before it: an orphan goes to the shims' parent, which is slower.
    """
    # Before the look: a keeper that writes its record from now on finds this, one that has written it is found. On a
    # full disk a session may begin that late, and ends with this process.
    with contextlib.suppress(OSError):
        (rank_dir / CLOSED).touch()
    living = [one for one in keepers(rank_dir) if one.boot_id == boot_id]
    for number, limit_s in ((signal.SIGTERM, SESSIONS_S), (signal.SIGKILL, SESSIONS_S)):
        for one in living:
            if number is signal.SIGKILL:
                _kill_below(one.pid)
            found = linux.process(one.pid)
            if found is not None and found.start_time == one.start_time:
                linux.send(found, number)
        clock, give_up_s = SystemClock(), SystemClock().monotonic() + limit_s
        while living and clock.monotonic() < give_up_s:
            living = [one for one in living if linux.is_alive(one.pid, one.start_time)]
            time.sleep(0.002 if living else 0)


def _kill_below(keeper: int) -> None:
    """Kill what a keeper keeps, round by round while some of it forks, and no longer than a keeper may take."""
    clock, give_up_s = SystemClock(), SystemClock().monotonic() + SESSIONS_S
    while (found := linux.descendants([keeper])) and clock.monotonic() < give_up_s:
        for one in found:
            linux.send(one, signal.SIGKILL)
        time.sleep(0.002)


def _kill_rest(order: RankOrder) -> None:
    """Kill what the program left running, and return when nothing of it is left.

    Orphans become the shim's children, so no child means no descendant, however often they forked.
    """
    pause_s = 0.002
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        _kill(order)
        time.sleep(pause_s)
        pause_s = min(0.5, pause_s * 2)


def _kill(order: RankOrder) -> None:
    if order.uid is not None and order.is_alone:
        linux.kill_user(order.uid)
    for one in linux.descendants([os.getpid()]):
        linux.send(one, signal.SIGKILL)


def _exit_record(ending: Ending, now_s: float, *, was_oom: bool) -> ExitRecord:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ExitRecord(
        exit_code=ending.exit_code,
        signal=ending.signal,
        user_s=used.ru_utime,
        system_s=used.ru_stime,
        max_rss_kib=used.ru_maxrss,
        at_deadline=ending.at_deadline,
        oom=was_oom,
        ended_at_s=now_s,
    )


def _write_exit(rank_dir: Path, record: ExitRecord) -> None:
    for _ in range(EXIT_TRIES):
        try:
            write(rank_dir / EXIT, record, is_durable=True)
        except OSError:
            # The disk is full: the order is not needed any more and makes room for a record.
            (rank_dir / ORDER).unlink(missing_ok=True)
            time.sleep(1.0)
        else:
            return


def _tell(order: RankOrder) -> None:
    announce(order.events, order.attempt_id)


def announce(events: str, attempt_id: str) -> None:
    """Send the attempt's id to who listens for events; nobody there is no error, since files tell the truth."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.setblocking(False)
        sender.sendto(attempt_id.encode(), events)
