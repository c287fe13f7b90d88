"""The keeper of one interactive session: starts a command inside a rank that runs, carries its bytes, and ends it.

Forked by the warm parent, with the gateway's connection in its hand; whoever opened the session is not needed any
more. The command is the attempt's user in the rank's folder, in a session of its own. It never outlives the rank:
the keeper watches the rank's shim and its deadline, and a shim that ends has its keepers end first. What the command
leaves in the background ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nordan_core.clock import SystemClock
from nordan_workers.shim import frames, linux
from nordan_workers.shim.control import Control
from nordan_workers.shim.frames import BadFrame, Kind
from nordan_workers.shim.job import become_visitor
from nordan_workers.shim.rank import Waker
from nordan_workers.shim.records import CLAIM, CLOSED, ORDER, Claim, KeeperRecord, RankOrder, keeper_path, read, write

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How long the gateway may take to say what to start.
START_LIMIT_S = 15.0
#: How often deadline and stop are looked at, as shims do.
POLL_S = 2.0
#: SIGHUP to SIGKILL, when whoever was connected has gone.
HANGUP_GRACE_S = 1.0
#: How long a reader may take nothing of what is left of the output, before it is dropped.
FLUSH_S = 30.0
_FLUSH_STEP_S = 0.5
#: The same when the attempt is over: its end waits for this.
_LAST_WORD_S = 1.0
#: Bytes waiting in one direction, before the other side is not read any more.
BUFFER_BYTES = 4 * frames.MAX_BYTES
_CHUNK_BYTES = 32 * 1024
_END_OF_INPUT = b"\x04"
_HUNG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL
_SIZE = struct.Struct("HHHH")
_LARGEST_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Start:
    """What to run, as the gateway passed it on."""

    command: tuple[str, ...]
    is_tty: bool
    term: str
    size: tuple[int, int]
    """Columns and rows."""

    @classmethod
    def parse(cls, data: bytes) -> Start:
        """Read the frame that starts a session.

        Raises:
            BadFrame: a field is missing or has another form.
        """
        document = frames.document_of(data)
        command, term = document.get("command"), document.get("term", "")
        if not isinstance(command, list) or not command or not all(_is_word(word) for word in command):
            raise BadFrame("a command is a list of words")
        if not isinstance(term, str) or not _is_word(term):
            raise BadFrame("term is a word")
        return cls(tuple(command), document.get("is_tty") is True, term, size_of(document.get("size")))


def size_of(value: object) -> tuple[int, int]:
    """Return columns and rows of a window; a usual one where none are given.

    Raises:
        BadFrame: they are no such numbers.
    """
    if value is None:
        return 80, 24
    if isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value):
        columns, rows = value
        if 0 <= columns <= _LARGEST_SIZE and 0 <= rows <= _LARGEST_SIZE:
            return columns, rows
    raise BadFrame("a size is columns and rows")


def keep_session(rank_dir: Path, connection: socket.socket) -> None:
    """Run one session to its end; whatever it started is gone when this returns."""
    linux.become_subreaper()
    waker = Waker()
    boot_id, own = linux.boot_id(), os.getpid()
    record = keeper_path(rank_dir, own)
    write(record, KeeperRecord(boot_id, own, linux.own_start_time()))
    try:
        # After the record: a shim that ends from now on finds it, one that has ended is found to have.
        order, claim = read(rank_dir / ORDER, RankOrder), read(rank_dir / CLAIM, Claim)
        shim = _handle_of(claim, boot_id)
        if order is None or shim is None or (rank_dir / CLOSED).exists():
            _say_last(connection, {"error": "attempt_over", "message": "the rank does not run"})
            return
        connection.settimeout(START_LIMIT_S)
        connection.sendall(frames.pack(Kind.READY))
        start = Start.parse(frames.receive(connection, Kind.START))
        control = Control(rank_dir.parent, boot_id, order.deadline_grace_s)
        _Session(connection, order, start).run(_Limits(shim, control, waker))
    except BadFrame as error:
        _say_last(connection, {"error": "bad_request", "message": str(error)})
    except OSError:
        # The gateway has gone, before or between.
        pass
    finally:
        kill_all()
        record.unlink(missing_ok=True)
        connection.close()


def kill_all() -> None:
    """Kill every descendant, and return when none is left: orphans come to this process, a subreaper."""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        for one in linux.descendants([os.getpid()]):
            linux.send(one, signal.SIGKILL)
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What ends a session though nobody asked for it."""

    shim: int
    """Process handle; readable once the rank's shim has ended."""
    control: Control
    waker: Waker

    def left_s(self) -> float:
        return self.control.schedule().kill_at_s - self.control.now()


@dataclass(slots=True)
class _Ends:
    """The keeper's ends of the command's streams; -1 where there is none, or none any more."""

    stdin: int
    stdout: int
    stderr: int = -1

    def close(self, name: str) -> None:
        if (descriptor := getattr(self, name)) != -1:
            os.close(descriptor)
            setattr(self, name, -1)


class _Session:
    """One command and one connection, with bounded buffers between them. Single-threaded, nothing blocks."""

    def __init__(self, connection: socket.socket, order: RankOrder, start: Start) -> None:
        self._connection = connection
        self._is_tty = start.is_tty
        self._unpacker = frames.Unpacker()
        self._to_program = bytearray()
        self._to_gateway = bytearray()
        self._has_input_ended = False
        self._is_gone = False
        """The other side has hung up."""
        self._moved = 0
        """Counts what went out, so that a slow reader can be told from one who takes nothing."""
        self._child, self._ends = _start(order, start)
        connection.setblocking(False)

    def run(self, limits: _Limits) -> None:
        """Carry bytes until the command ends, the other side goes, or the rank's time is over."""
        child = os.pidfd_open(self._child)
        status: int | None = None
        while status is None and not self._is_gone:
            left_s = limits.left_s()
            ready = self._carry((child, limits.shim, limits.waker.descriptor), min(POLL_S, max(0.0, left_s)))
            limits.waker.clear()
            # Asked again: a fence may have killed the command before it woke the keeper.
            if limits.shim in ready or limits.waker.is_shutdown or limits.left_s() <= 0:
                kill_all()
                self._finish({"error": "attempt_over", "message": "the attempt is over"}, _LAST_WORD_S)
                return
            if child in ready:
                status = linux.reap(self._child)
        if status is None:
            self._hang_up(child)
            return
        # What is left in the background would hold the output open, and may not outlive the session.
        kill_all()
        code = os.waitstatus_to_exitcode(status)
        self._finish({"exit_code": code} if code >= 0 else {"signal": -code})

    def _carry(self, watched: tuple[int, ...], timeout_s: float) -> set[int]:
        """Move what can be moved, waiting for it at most so long; return which of the watched are readable."""
        acts = self._acts()
        # The connection is always watched: that the other side has gone must be heard though nothing can be moved.
        masks = dict.fromkeys(watched, select.POLLIN) | {self._connection.fileno(): 0}
        for descriptor, mask in acts:
            masks[descriptor] = masks.get(descriptor, 0) | mask
        poll = select.poll()
        for descriptor, mask in masks.items():
            poll.register(descriptor, mask)
        events = dict(poll.poll(1000 * timeout_s))
        for (descriptor, mask), act in acts.items():
            if events.get(descriptor, 0) & (mask | _HUNG_UP):
                act()
        if events.get(self._connection.fileno(), 0) & _HUNG_UP:
            self._is_gone = True
        return {one for one in watched if one in events}

    def _acts(self) -> dict[tuple[int, int], Callable[[], None]]:
        """Return what can be done now, by descriptor and the event that it waits for."""
        line, ends = self._connection.fileno(), self._ends
        acts: dict[tuple[int, int], Callable[[], None]] = {}
        if len(self._to_program) < BUFFER_BYTES:
            acts[line, select.POLLIN] = self._receive
        if self._to_gateway:
            acts[line, select.POLLOUT] = self._send
        if ends.stdin != -1 and self._to_program:
            acts[ends.stdin, select.POLLOUT] = self._feed
        if len(self._to_gateway) < BUFFER_BYTES:
            if ends.stdout != -1:
                acts[ends.stdout, select.POLLIN] = partial(self._read, "stdout", Kind.STDOUT)
            if ends.stderr != -1:
                acts[ends.stderr, select.POLLIN] = partial(self._read, "stderr", Kind.STDERR)
        return acts

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            arrived = self._unpacker.feed(data)
        except BadFrame:
            data = b""
        if not data:
            self._is_gone = True
            return
        for kind, content in arrived:
            self._take(kind, content)

    def _take(self, kind: Kind, content: bytes) -> None:
        if kind is Kind.STDIN and content:
            if self._ends.stdin != -1 and not self._has_input_ended:
                self._to_program += content
        elif kind is Kind.STDIN:
            self._end_input()
        elif kind is Kind.RESIZE and self._is_tty and self._ends.stdout != -1:
            with contextlib.suppress(OSError, ValueError, BadFrame):
                _resize(self._ends.stdout, size_of(json.loads(content)))

    def _end_input(self) -> None:
        if self._has_input_ended or self._ends.stdin == -1:
            return
        self._has_input_ended = True
        if self._is_tty:
            self._to_program += _END_OF_INPUT
        elif not self._to_program:
            self._ends.close("stdin")

    def _feed(self) -> None:
        try:
            written = os.write(self._ends.stdin, self._to_program[:_CHUNK_BYTES])
        except BlockingIOError:
            return
        except OSError:
            # The command does not read its input any more, or has ended.
            self._to_program.clear()
            self._ends.close("stdin")
            return
        del self._to_program[:written]
        if self._has_input_ended and not self._to_program and not self._is_tty:
            self._ends.close("stdin")

    def _read(self, name: str, kind: Kind) -> None:
        try:
            data = os.read(getattr(self._ends, name), _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # A terminal that nobody holds open on the other side says so by an error.
            data = b""
        if data:
            self._to_gateway += frames.pack(kind, data)
            self._moved += 1
        else:
            self._ends.close(name)

    def _send(self) -> None:
        try:
            sent = self._connection.send(self._to_gateway)
        except BlockingIOError:
            return
        except OSError:
            self._is_gone = True
            return
        del self._to_gateway[:sent]
        self._moved += 1

    def _finish(self, ending: Mapping[str, object], limit_s: float = FLUSH_S) -> None:
        """Send what was written before the end, then how it ended; give up on a reader who takes nothing."""
        self._flush(lambda: self._ends.stdout == self._ends.stderr == -1, limit_s)
        self._to_gateway += frames.pack_document(Kind.END, ending)
        self._flush(lambda: not self._to_gateway, limit_s)

    def _flush(self, is_done: Callable[[], bool], limit_s: float) -> None:
        clock = SystemClock()
        moved, moved_at_s = self._moved, clock.monotonic()
        while not (is_done() or self._is_gone):
            self._carry((), _FLUSH_STEP_S)
            if self._moved != moved:
                moved, moved_at_s = self._moved, clock.monotonic()
            elif clock.monotonic() > moved_at_s + limit_s:
                return

    def _hang_up(self, child: int) -> None:
        """Let the command know that nobody is there any more; what does not end by itself is killed by the caller."""
        for name in ("stdin", "stdout", "stderr"):
            self._ends.close(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGHUP)
        select.select([child], [], [], HANGUP_GRACE_S)


def _start(order: RankOrder, start: Start) -> tuple[int, _Ends]:
    """Fork the command; it begins when everything is in place."""
    gate_out, gate_in = os.pipe2(os.O_CLOEXEC)
    theirs, ends = _terminal(order, start) if start.is_tty else _pipes()
    # Held back until the child has put its own handlers in place, as for the rank's program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, Waker.SIGNALS)
    child = os.fork()
    if child == 0:
        os.close(gate_in)
        environment = {"TERM": start.term or "dumb"} if start.is_tty else {}
        become_visitor(order, start.command, streams=theirs, gate=gate_out, environment=environment)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for descriptor in {*theirs, gate_out}:
        os.close(descriptor)
    for descriptor in (ends.stdin, ends.stdout, ends.stderr):
        if descriptor != -1:
            os.set_blocking(descriptor, False)
    with contextlib.suppress(BrokenPipeError):
        os.write(gate_in, b"g")
    os.close(gate_in)
    return child, ends


def _pipes() -> tuple[tuple[int, ...], _Ends]:
    in_out, in_in = os.pipe2(os.O_CLOEXEC)
    out_out, out_in = os.pipe2(os.O_CLOEXEC)
    err_out, err_in = os.pipe2(os.O_CLOEXEC)
    return (in_out, out_in, err_in), _Ends(in_in, out_out, err_out)


def _terminal(order: RankOrder, start: Start) -> tuple[tuple[int, ...], _Ends]:
    """Open a terminal that belongs to the attempt's user; one stream stands for all three."""
    mine, theirs = os.openpty()
    if order.uid is not None:
        os.fchown(theirs, order.uid, order.uid)
    os.fchmod(theirs, 0o600)
    _resize(mine, start.size)
    return (theirs,), _Ends(os.dup(mine), mine)


def _resize(terminal: int, size: tuple[int, int]) -> None:
    columns, rows = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, _SIZE.pack(rows, columns, 0, 0))


def _handle_of(claim: Claim | None, boot_id: str) -> int | None:
    """Return a handle of the rank's shim; None when it does not live."""
    if claim is None or claim.boot_id != boot_id:
        return None
    try:
        handle = os.pidfd_open(claim.shim_pid)
    except ProcessLookupError:
        return None
    return handle if linux.is_alive(claim.shim_pid, claim.shim_start_time) else None


def _say_last(connection: socket.socket, ending: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        connection.settimeout(_LAST_WORD_S)
        connection.sendall(frames.pack_document(Kind.END, ending))


def _is_word(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
