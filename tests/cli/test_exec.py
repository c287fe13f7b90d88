"""`nordan exec` against a real gateway: streams, codes, refusals, and what it says when a session is cut."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nordan_cli.client import Api
from nordan_cli.errors import Cut, Problem, Unreachable
from nordan_cli.invocation import Invocation
from nordan_cli.visit import Visit, Wish
from nordan_core.identifiers import new_id
from support.command_line import Nordan
from support.doors import FakeDoor, fake_door
from support.fake_rest import FakeRest, problem
from support.gateways import GatewayUnderTest, gateway_under_test

ID = "job_00000000000000000000000abc"
EXEC = f"POST /v1/projects/default/jobs/{ID}:exec"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    with gateway_under_test(tmp_path_factory.mktemp("region")) as gateway:
        yield gateway


@pytest.fixture
def door(gateway: GatewayUnderTest) -> Iterator[FakeDoor]:
    with fake_door(gateway.folder / "run" / "exec.sock") as door:
        yield door
    gateway.board.fences([])


class Leave:
    """Gives leave as the control plane does: the same session as long as it is renewed."""

    def __init__(self, gateway: GatewayUnderTest, expires_in_s: float = 60) -> None:
        self.attempt = new_id("att")
        self.session = new_id("exs")
        self.expires_in_s = expires_in_s
        self._gateway = gateway

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        headers = self._gateway.session_pass(self.attempt, session=self.session, expires_in_s=self.expires_in_s)
        token = headers["Authorization"].removeprefix("Bearer ")
        url = f"{self._gateway.url}/v1/attempts/{self.attempt}/exec?rank=0"
        return httpx.Response(200, json={"url": url, "token": token, "session_id": self.session})


@pytest.fixture
def leave(gateway: GatewayUnderTest, rest: FakeRest) -> Leave:
    leave = Leave(gateway)
    rest.on(EXEC, leave)
    return leave


def visit(run: Invocation, data: bytes | None = b"", **changes: Any) -> tuple[int, bytes, bytes]:
    """Run a session with some input, which ends behind it unless it is None; return code, output and errors."""
    wish = Wish(job=ID, command=("sh",), **{name: changes.pop(name) for name in ("rank",) if name in changes})
    stdout, stderr = io.BytesIO(), io.BytesIO()
    reading, writing = os.pipe()
    if data is not None:
        threading.Thread(target=_write, args=(writing, data), daemon=True).start()
    try:
        with Api(run, run.url, run.key, "default") as api:
            code = Visit(api, wish, stdin=reading, stdout=stdout, stderr=stderr, **changes).run()
    finally:
        if data is None:
            os.close(writing)
    return code, stdout.getvalue(), stderr.getvalue()


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def test_input_goes_in_output_and_errors_come_out_and_the_code_is_the_commands(
    run: Invocation, door: FakeDoor, leave: Leave
) -> None:
    code, out, err = visit(run, b"hello")
    assert (code, out, err) == (7, b"hello", b"!")
    assert door.starts == [{"command": ["sh"], "is_tty": False}]


def test_much_input_comes_back_whole(run: Invocation, door: FakeDoor, leave: Leave) -> None:
    data = os.urandom(2_000_000)
    assert visit(run, data)[1] == data


def test_the_command_behind_the_dashes_never_goes_to_the_control_plane(
    nordan: Nordan, rest: FakeRest, door: FakeDoor, leave: Leave
) -> None:
    ended = nordan("exec", ID, "--attempt", "2", "--rank", "0", "--", "sh", "-c", "secret --flag")
    assert ended.code == 7, ended.err
    assert door.starts == [{"command": ["sh", "-c", "secret --flag"], "is_tty": False}]
    assert rest.bodies(EXEC) == [{"attempt": 2, "rank": 0}]
    assert not any(b"secret" in one.content for one in rest.requests)


def test_with_a_terminal_it_says_which_and_how_large(
    nordan: Nordan, door: FakeDoor, leave: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LINES", "40")
    assert nordan("exec", ID, "-it", "--", "sh").code == 7
    assert door.starts == [{"command": ["sh"], "is_tty": True, "term": "xterm-256color", "size": [100, 40]}]


def test_without_a_command_it_is_wrong_use(nordan: Nordan) -> None:
    ended = nordan("exec", ID)
    assert ended.code == 2
    assert "COMMAND" in ended.err


def test_what_the_control_plane_refuses_is_told_and_nothing_is_opened(
    nordan: Nordan, rest: FakeRest, door: FakeDoor
) -> None:
    rest.on(EXEC, problem(422, "rejected_by_policy", "the reader sits in US; access allows FR", facet="access"))
    ended = nordan("exec", ID, "--", "sh")
    assert ended.code == 1
    assert "the reader sits in US" in ended.err
    assert door.wishes == []


def test_what_the_gateway_refuses_is_told_as_it_said_it(
    nordan: Nordan, gateway: GatewayUnderTest, door: FakeDoor, leave: Leave
) -> None:
    door.mood = "refuse"
    ended = nordan("exec", ID, "--", "sh")
    assert ended.code == 1
    assert "it does not run here (attempt_not_running)" in ended.err


def test_a_gateway_that_is_not_there_is_unreachable(run: Invocation, rest: FakeRest) -> None:
    rest.on(EXEC, {"url": "http://127.0.0.1:9/v1/attempts/att_1/exec?rank=0", "token": "t"})
    with pytest.raises(Unreachable):
        visit(run)


@pytest.mark.parametrize(("mood", "words"), [("over", "attempt_over: the attempt is over"), ("vanish", "broken: ")])
def test_a_session_that_is_cut_says_why(nordan: Nordan, door: FakeDoor, leave: Leave, mood: str, words: str) -> None:
    door.mood = mood
    ended = nordan("exec", ID, "--", "sh")
    assert ended.code == 255
    assert f"the session was cut: {words}" in ended.err


def test_a_fence_is_told(run: Invocation, gateway: GatewayUnderTest, door: FakeDoor, leave: Leave) -> None:
    threading.Timer(0.5, lambda: gateway.board.fences([f"attempt:{leave.attempt}"])).start()
    with pytest.raises(Cut, match="fenced: "):
        visit(run, None)


class TestGoingOn:
    """Leave is asked for again as long as the session lasts."""

    def test_a_session_outlives_its_first_pass(
        self, run: Invocation, rest: FakeRest, door: FakeDoor, leave: Leave
    ) -> None:
        leave.expires_in_s = -3.5  # what is left are the seconds by which clocks may differ
        reading, writing = os.pipe()
        threading.Timer(4.0, _write, (writing, b"late")).start()
        stdout = io.BytesIO()
        with Api(run, run.url, run.key, "default") as api:
            wish = Wish(job=ID, command=("sh",))
            code = Visit(api, wish, stdin=reading, stdout=stdout, stderr=io.BytesIO(), renew_s=0.4).run()
        assert (code, stdout.getvalue()) == (7, b"late")
        renewals = rest.bodies(EXEC)[1:]
        assert len(renewals) >= 3
        assert all(set(one) == {"renew"} for one in renewals)

    def test_a_refusal_cuts_it_and_is_the_reason(
        self, run: Invocation, rest: FakeRest, door: FakeDoor, leave: Leave
    ) -> None:
        rest.on(EXEC, problem(422, "rejected_by_policy", "the reader sits in NO; access allows EU"))
        with pytest.raises(Cut, match="the reader sits in NO"):
            visit(run, None, renew_s=0.2)
        assert door.hung_up.wait(5)

    def test_a_control_plane_that_is_away_for_a_moment_cuts_nothing(
        self, run: Invocation, rest: FakeRest, door: FakeDoor, leave: Leave
    ) -> None:
        rest.on(EXEC, httpx.ConnectError("away"))
        reading, writing = os.pipe()
        threading.Timer(1.0, _write, (writing, b"x")).start()
        with Api(run, run.url, run.key, "default") as api:
            wish = Wish(job=ID, command=("sh",))
            code = Visit(api, wish, reading, io.BytesIO(), io.BytesIO(), renew_s=0.2).run()
        assert code == 7


def test_ctrl_c_without_a_terminal_hangs_up(
    nordan: Nordan, door: FakeDoor, leave: Leave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130; the other side hears that nobody is there."""

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    door.mood = "deaf"
    monkeypatch.setattr(Visit, "_receive", interrupted)
    assert nordan("exec", ID, "--", "sh").code == 130
    assert door.hung_up.wait(5)


def test_a_problem_of_the_gateway_keeps_its_code(run: Invocation, door: FakeDoor, leave: Leave) -> None:
    door.mood = "refuse"
    with pytest.raises(Problem) as caught:
        visit(run)
    assert (caught.value.status, caught.value.code) == (409, "attempt_not_running")


def test_a_terminal_is_raw_while_the_session_lasts_and_as_before_when_it_ends(tmp_path: Path) -> None:
    """Keys go through as they are; the window's size is told when it changes."""
    import pty  # noqa: PLC0415
    import termios  # noqa: PLC0415

    from nordan_cli import terminal  # noqa: PLC0415

    mine, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with terminal.raw(theirs):
            assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ISIG | termios.ECHO)
        assert termios.tcgetattr(theirs) == before
        with pytest.raises(ZeroDivisionError), terminal.raw(theirs):
            1 / 0  # noqa: B018
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(mine)
        os.close(theirs)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with terminal.resized(writing):
        os.kill(os.getpid(), 28)
        assert os.read(reading, 10) == b"w"
    os.close(reading)
    os.close(writing)
    assert json.dumps(terminal.size())
