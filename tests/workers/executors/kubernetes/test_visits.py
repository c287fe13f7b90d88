"""Sessions over an API server's stream: what goes through, how ends are told, and that nothing is left."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from nordan_workers.executors.kubernetes.manifests import SHIM
from nordan_workers.executors.kubernetes.visits import PROTOCOLS, Door, ending_of, keep_visit
from nordan_workers.shim import frames
from nordan_workers.shim.frames import Kind

SUCCESS = b'\x03{"status": "Success"}'
FAILED = b'\x03{"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "%d"}]}}'


class FakeApiServer:
    """Echoes input to output; ends with a code when the input ends, or as its mood says."""

    def __init__(self, protocols: tuple[str, ...] = PROTOCOLS) -> None:
        self.mood = "echo"
        self.asked: list[dict[str, list[str]]] = []
        self.paths: list[str] = []
        self.tokens: list[str | None] = []
        self.sizes: list[Any] = []
        self.left = threading.Event()
        self._server: Server = serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(one) for one in protocols],
            compression=None,
        )
        port = self._server.socket.getsockname()[1]
        self.door = Door(f"http://127.0.0.1:{port}", "jobs", None, "", lambda: "t0ken")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _serve(self, line: ServerConnection) -> None:
        assert line.request is not None
        parts = urlsplit(line.request.path)
        asked = parse_qs(parts.query)
        self.asked.append(asked)
        self.paths.append(parts.path)
        self.tokens.append(line.request.headers.get("Authorization"))
        if asked["command"][1].startswith("--leave="):
            self.left.set()
            line.send(SUCCESS)
            return
        try:
            self._carry(line)
        except ConnectionClosed:
            return

    def _carry(self, line: ServerConnection) -> None:
        if self.mood == "killed":
            line.send(FAILED % 137)
            return
        if self.mood == "vanish":
            return
        if self.mood == "much":
            line.send(b"\x01" + bytes(300_000))
            line.send(SUCCESS)
            return
        for message in line:
            assert isinstance(message, bytes)
            if message == b"\xff\x00":
                line.send(FAILED % 3)
                return
            if message[0] == 4:
                self.sizes.append(json.loads(message[1:]))
            elif message == b"\x00\x04":
                line.send(SUCCESS)
                return
            else:
                line.send(b"\x01" + message[1:])
                line.send(b"\x02!")


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    api = FakeApiServer()
    yield api
    api.close()


class Visit:
    """One session, as the gateway has it."""

    def __init__(self, api: FakeApiServer, *, is_over: bool = False) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(10)
        self.thread = threading.Thread(target=keep_visit, args=(api.door, "att-1-0", theirs, lambda: is_over))
        self.thread.start()
        frames.receive(self.line, Kind.READY)

    def start(self, **changes: Any) -> Visit:
        document = {"command": ["sh", "-c", "a b"], "is_tty": False, "term": "xterm", "size": [100, 30], **changes}
        self.line.sendall(frames.pack_document(Kind.START, document))
        return self

    def ends(self) -> tuple[dict[str, Any], bytes, bytes]:
        """Return how it ended, and output and errors before."""
        unpacker, said = frames.Unpacker(), {Kind.STDOUT: b"", Kind.STDERR: b""}
        while data := self.line.recv(1 << 16):
            for kind, content in unpacker.feed(data):
                if kind is Kind.END:
                    self.line.close()
                    self.thread.join(10)
                    assert not self.thread.is_alive()
                    return json.loads(content), said[Kind.STDOUT], said[Kind.STDERR]
                said[kind] += content
        raise AssertionError(said)


def test_bytes_go_through_and_the_code_comes_back(api: FakeApiServer) -> None:
    one = Visit(api).start()
    one.line.sendall(frames.pack(Kind.STDIN, b"hello") + frames.pack(Kind.STDIN))
    assert one.ends() == ({"exit_code": 3}, b"hello", b"!")
    assert api.paths[0] == "/api/v1/namespaces/jobs/pods/att-1-0/exec"
    asked = api.asked[0]
    assert asked["command"][0] == SHIM
    assert asked["command"][1].startswith("--visit=")
    assert asked["command"][2:] == ["--", "sh", "-c", "a b"]
    assert (asked["container"], asked["tty"], asked["stderr"]) == (["job"], ["false"], ["true"])
    assert api.tokens[0] == "Bearer t0ken"


def test_what_a_session_left_is_ended_under_its_own_word(api: FakeApiServer) -> None:
    one = Visit(api).start()
    one.line.sendall(frames.pack(Kind.STDIN))
    one.ends()
    assert api.left.is_set()
    assert api.asked[1]["command"] == [SHIM, api.asked[0]["command"][1].replace("visit", "leave")]


def test_a_terminal_has_its_size_and_no_errors_of_its_own(api: FakeApiServer) -> None:
    one = Visit(api).start(is_tty=True)
    one.line.sendall(frames.pack(Kind.RESIZE, b"[120, 40]") + frames.pack(Kind.STDIN))
    assert one.ends()[0] == {"exit_code": 0}
    assert api.sizes == [{"Width": 100, "Height": 30}, {"Width": 120, "Height": 40}]
    assert (api.asked[0]["tty"], api.asked[0]["stderr"]) == (["true"], ["false"])
    assert "--term=xterm" in api.asked[0]["command"]


def test_a_client_that_goes_ends_it_and_what_it_left(api: FakeApiServer) -> None:
    one = Visit(api).start()
    one.line.sendall(frames.pack(Kind.STDIN, b"hello"))
    frames.receive(one.line, Kind.STDOUT)
    one.line.close()
    one.thread.join(10)
    assert not one.thread.is_alive()
    assert api.left.is_set()


def test_much_output_is_cut_into_frames(api: FakeApiServer) -> None:
    api.mood = "much"
    ending, out, _ = Visit(api).start().ends()
    assert (ending, out) == ({"exit_code": 0}, bytes(300_000))


@pytest.mark.parametrize(
    ("mood", "is_over", "expected"),
    [
        ("killed", False, {"exit_code": 137}),
        ("killed", True, {"error": "attempt_over", "message": "the attempt is over"}),
        ("vanish", True, {"error": "attempt_over", "message": "the attempt is over"}),
        ("vanish", False, {"error": "broken", "message": "the cluster broke the session off"}),
    ],
)
def test_an_end_by_the_ranks_own_is_told_from_others(
    api: FakeApiServer, mood: str, is_over: bool, expected: dict[str, object]
) -> None:
    api.mood = mood
    assert Visit(api, is_over=is_over).start().ends()[0] == expected
    assert api.left.is_set() is not is_over


def test_an_api_server_that_is_not_there_breaks_it(api: FakeApiServer) -> None:
    api.close()
    assert Visit(api).start().ends()[0]["error"] == "broken"


def test_a_start_of_another_form_asks_nobody(api: FakeApiServer) -> None:
    one = Visit(api)
    one.line.sendall(frames.pack(Kind.START, b"{}"))
    assert one.ends()[0]["error"] == "bad_request"
    assert api.asked == []


def test_an_older_api_server_is_spoken_to_in_its_way() -> None:
    """It never hears of the end of an input; the command goes on until it ends by itself."""
    api = FakeApiServer(PROTOCOLS[1:])
    try:
        one = Visit(api).start()
        one.line.sendall(frames.pack(Kind.STDIN) + frames.pack(Kind.STDIN, b"x"))
        assert frames.receive(one.line, Kind.STDOUT) == b"x"
        one.line.close()
        one.thread.join(10)
    finally:
        api.close()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"status": "Failure"}', FAILED[1:]])
def test_a_last_word_of_another_form_is_a_refusal(data: bytes) -> None:
    assert ending_of(data)["error"] == "refused"
