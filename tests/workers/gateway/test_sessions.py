"""Sessions at the gateway: who is let through, what goes through, and what cuts it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nordan_core.identifiers import new_id
from nordan_core.proof.keys import SigningKey
from nordan_workers.gateway import sessions
from support.doors import FakeDoor, fake_door
from support.gateways import GatewayUnderTest

START = json.dumps({"command": ["sh"], "is_tty": True, "term": "xterm", "size": [80, 24]})
Headers = dict[str, str]


@pytest.fixture
def door(gateway: GatewayUnderTest) -> Iterator[FakeDoor]:
    with fake_door(gateway.folder / "run" / "exec.sock") as door:
        yield door
    gateway.board.fences([])


@pytest.fixture
def attempt() -> str:
    return new_id("att")


@contextmanager
def entered(
    gateway: GatewayUnderTest, attempt: str, rank: int = 0, headers: Headers | None = None, start: str = START
) -> Iterator[ClientConnection]:
    """Open a session and say what to start."""
    url = f"{gateway.url.replace('http', 'ws', 1)}/v1/attempts/{attempt}/exec?rank={rank}"
    sent = gateway.session_pass(attempt, rank) if headers is None else headers
    with connect(url, additional_headers=sent, proxy=None) as line:
        line.send(start)
        yield line


def refusal(gateway: GatewayUnderTest, attempt: str, rank: int = 0, headers: Headers | None = None) -> tuple[int, str]:
    """Return status and code of a session that is not opened."""
    with pytest.raises(InvalidStatus) as caught, entered(gateway, attempt, rank, headers):
        pass
    response = caught.value.response
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, str(json.loads(response.body or b"{}")["code"])


def closing(line: ClientConnection) -> tuple[int, str, float]:
    """Read until the gateway closes; return code, word and how long it took."""
    began_s = time.monotonic()
    with suppress(ConnectionClosed):
        while True:
            line.recv(timeout=15)
    assert line.close_code is not None
    return line.close_code, (line.close_reason or "").split(":")[0], time.monotonic() - began_s


class TestWhoIsLetThrough:
    """The pass, then what it names, then the fence; each with its own code."""

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            (lambda g, _: {}, (401, "token_missing")),
            (lambda g, _: {"Authorization": "Basic eDp5"}, (401, "token_missing")),
            (lambda g, _: {"Authorization": "Bearer x.y"}, (401, "token_malformed")),
            (lambda g, _: {"Authorization": f"Bearer {'a' * 5000}"}, (401, "token_malformed")),
            (lambda g, a: g.session_pass(a, key=SigningKey.create()), (401, "token_forged")),
            (lambda g, a: g.session_pass(a, expires_in_s=-10), (401, "token_expired")),
            (lambda g, a: g.token(f"attempt:{a}"), (401, "token_forged")),
            (lambda g, a: g.token(f"attempt:{a}", "exec"), (401, "token_forged")),
            (lambda g, a: g.session_pass(a, audience="gateway:elsewhere"), (403, "wrong_region")),
            (lambda g, a: g.session_pass(a, 1), (403, "wrong_object")),
            (lambda g, _: g.session_pass(new_id("att")), (403, "wrong_object")),
        ],
        ids=[*["none", "basic", "garbage", "long", "forged", "expired", "read", "name", "region", "rank", "attempt"]],
    )
    def test_a_pass_that_does_not_hold_opens_nothing(
        self,
        gateway: GatewayUnderTest,
        door: FakeDoor,
        attempt: str,
        headers: Callable[[GatewayUnderTest, str], Headers],
        expected: tuple[int, str],
    ) -> None:
        assert refusal(gateway, attempt, 0, headers(gateway, attempt)) == expected
        assert door.wishes == []

    def test_a_pass_to_a_session_reads_no_log(self, gateway: GatewayUnderTest, attempt: str) -> None:
        answer = gateway.http.get(f"/v1/attempts/{attempt}/logs", headers=gateway.session_pass(attempt))
        assert (answer.status_code, answer.json()["code"]) == (401, "token_forged")

    def test_a_fenced_attempt_is_not_entered(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        gateway.board.fences([f"attempt:{attempt}"])
        assert refusal(gateway, attempt) == (403, "fenced")
        assert door.wishes == []

    def test_a_pass_opens_one_session(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        """Each was written down once; another one is another act."""
        headers = gateway.session_pass(attempt)
        with entered(gateway, attempt, headers=headers):
            assert refusal(gateway, attempt, headers=headers) == (409, "session_used")
        assert refusal(gateway, attempt, headers=headers) == (409, "session_used")
        assert len(door.wishes) == 1

    @pytest.mark.parametrize(("path", "status"), [("bad/exec", 404), ("{}/exec?rank=x", 422), ("{}/exec?rank=-1", 422)])
    def test_a_path_of_another_form_is_refused(
        self, gateway: GatewayUnderTest, attempt: str, path: str, status: int
    ) -> None:
        url = f"{gateway.url.replace('http', 'ws', 1)}/v1/attempts/{path.format(attempt)}"
        headers = gateway.session_pass(attempt)
        with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers, proxy=None):
            pass
        assert caught.value.response.status_code == status

    def test_plain_http_is_told_what_is_needed(self, gateway: GatewayUnderTest, attempt: str) -> None:
        answer = gateway.http.get(f"/v1/attempts/{attempt}/exec", headers=gateway.session_pass(attempt))
        assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")

    def test_what_the_supervisor_refuses_is_told_with_its_reason(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str
    ) -> None:
        door.mood = "refuse"
        assert refusal(gateway, attempt) == (409, "attempt_not_running")

    def test_a_supervisor_that_is_not_there_is_unavailable(self, gateway: GatewayUnderTest, attempt: str) -> None:
        assert refusal(gateway, attempt) == (503, "supervisor_unavailable")

    def test_one_that_says_nothing_is_too(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "OPEN_LIMIT_S", 0.2)
        door.mood = "mute"
        assert refusal(gateway, attempt) == (503, "supervisor_unavailable")

    def test_an_attempt_has_so_many_sessions_and_no_more(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "MAX_PER_ATTEMPT", 2)
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(entered(gateway, attempt))
            assert refusal(gateway, attempt) == (503, "too_many_sessions")
            stack.enter_context(entered(gateway, new_id("att")))
            monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
            assert refusal(gateway, new_id("att")) == (503, "too_many_sessions")


class TestWhatGoesThrough:
    """Bytes, sizes, and how it ended."""

    def test_input_output_errors_and_the_code(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        with entered(gateway, attempt, 3) as line:
            line.send(b"\x00hello")
            assert (line.recv(timeout=5), line.recv(timeout=5)) == (b"\x01hello", b"\x02!")
            line.send(b"\x04[10, 20]")
            line.send(b"\x00")
            assert line.recv(timeout=5) == b'\x03{"exit_code": 7}'
            assert closing(line)[:2] == (1000, "done")
        assert door.wishes == [{"attempt_id": attempt, "rank": 3}]
        assert door.starts == [json.loads(START)]
        assert door.sizes == [b"[10, 20]"]

    @pytest.mark.parametrize(
        "message",
        [b"", b"\x01out", b"\x03{}", b"\x10{}", b"\xff", b"\x00" + bytes(70_000), "text", "[]", '{"renew": 1}', "{}"],
        ids=repr,
    )
    def test_a_message_of_another_form_closes_it(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, message: Any
    ) -> None:
        with entered(gateway, attempt) as line:
            line.send(message)
            assert closing(line)[:2] == (4400, "bad_request")
        assert door.hung_up.wait(5)

    @pytest.mark.parametrize(
        "start", [b"\x00first", "nonsense", "[]", '{"command": ["' + "x" * 70_000 + '"]}'], ids=len
    )
    def test_a_start_of_another_form_closes_it(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, start: Any
    ) -> None:
        with entered(gateway, attempt, start=start) as line:
            assert closing(line)[:2] == (4400, "bad_request")
        assert door.starts == []

    def test_a_client_that_reads_nothing_fills_no_memory(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str
    ) -> None:
        """What flows is held back, and the gateway serves others meanwhile."""
        door.mood = "flood"
        with entered(gateway, attempt):
            time.sleep(0.5)
            assert gateway.http.get("/healthz").status_code == 200


class TestWhatCutsIt:
    """Each with a code of its own, and the keeper hears that nobody is there any more."""

    def test_a_fence_within_two_seconds(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        with entered(gateway, attempt) as line, entered(gateway, new_id("att")) as other:
            line.send(b"\x00hello")
            line.recv(timeout=5)
            gateway.board.fences([f"attempt:{attempt}"])
            code, word, took_s = closing(line)
            assert (code, word) == (4403, "fenced")
            assert took_s < 2
            other.send(b"\x00x")
            assert other.recv(timeout=5) == b"\x01x", "other sessions go on"
        assert door.hung_up.wait(5)

    def test_a_pass_that_is_not_renewed(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        """And not one that is; a pass to another session, an older or a forged one renews nothing."""
        session = new_id("exs")

        def renewal(expires_in_s: float, **other: Any) -> str:
            headers = gateway.session_pass(attempt, expires_in_s=expires_in_s, **{"session": session, **other})
            return json.dumps({"renew": headers["Authorization"].removeprefix("Bearer ")})

        with entered(gateway, attempt, headers=gateway.session_pass(attempt, session=session, expires_in_s=-3)) as line:
            line.send(renewal(0))
            time.sleep(2.5)
            line.send(b"\x00x")
            assert line.recv(timeout=5) == b"\x01x"
            code, word, took_s = closing(line)
            assert (code, word) == (4401, "token_expired")
            assert took_s < 5
        for bad in (renewal(60, session=new_id("exs")), renewal(60, key=SigningKey.create())):
            with entered(gateway, attempt) as line:
                line.send(bad)
                assert closing(line)[:2] == (4400, "bad_request")

    def test_the_end_of_the_attempt(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        door.mood = "over"
        with entered(gateway, attempt) as line:
            assert closing(line)[:2] == (4409, "attempt_over")

    def test_a_cluster_that_refuses(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        door.mood = "forbid"
        with entered(gateway, attempt) as line:
            assert closing(line)[:2] == (1011, "refused")

    def test_a_keeper_that_vanishes(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        door.mood = "vanish"
        with entered(gateway, attempt) as line:
            assert closing(line)[:2] == (1011, "broken")

    def test_eight_hours(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "MAX_SESSION_S", 0.1)
        with entered(gateway, attempt) as line:
            assert closing(line)[:2] == (4408, "session_too_long")

    def test_a_client_that_goes(self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str) -> None:
        with entered(gateway, attempt) as line:
            line.send(b"\x00hello")
            line.recv(timeout=5)
        assert door.hung_up.wait(5)

    def test_a_client_that_says_nothing_after_it_was_let_in(
        self, gateway: GatewayUnderTest, door: FakeDoor, attempt: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sessions, "START_LIMIT_S", 0.1)
        url = f"{gateway.url.replace('http', 'ws', 1)}/v1/attempts/{attempt}/exec?rank=0"
        with connect(url, additional_headers=gateway.session_pass(attempt), proxy=None) as line:
            assert closing(line)[:2] == (4400, "bad_request")
