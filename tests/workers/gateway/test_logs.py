"""Logs by range and as a stream: resumable without a gap, ended when the attempt is, open no longer than the token."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nordan_core.identifiers import new_id
from nordan_workers.gateway import tail
from support.gateways import GatewayUnderTest


class Log:
    """One attempt's log as its shim writes it."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.gateway = gateway
        self.attempt = new_id("att")
        self.folder = gateway.folder / "logs" / self.attempt
        self.url = f"/v1/attempts/{self.attempt}/logs"
        self.headers = gateway.token(f"attempt:{self.attempt}")

    def write(self, data: bytes, rank: int = 0) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"rank-{rank}.log").open("ab") as file:
            file.write(data)

    def end(self) -> None:
        self.gateway.board.logs_are_complete(self.attempt)

    def finish_soon(self, data: bytes) -> None:
        def finish() -> None:
            self.write(data)
            self.end()

        threading.Timer(0.3, finish).start()

    def get(self, **headers: str) -> httpx.Response:
        return self.gateway.http.get(self.url, headers={**self.headers, **headers})

    def stream(self, after: str = "") -> Iterator[str]:
        headers = {**self.headers, "Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with self.gateway.http.stream("GET", self.url, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            yield from answer.iter_lines()


@pytest.fixture
def log(gateway: GatewayUnderTest) -> Log:
    (gateway.folder / "logs").mkdir(exist_ok=True)
    return Log(gateway)


def test_a_log_folder_that_a_pod_makes_meanwhile_is_no_error(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervisor and gateway both make it; one of them comes second, also after it has looked."""
    log.write(b"x")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    log.end()
    assert (log.folder / "ended").is_file()


def data_of(lines: Iterator[str]) -> list[str]:
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ") and line != "data: "]


def test_a_log_is_text_and_comes_in_ranges(log: Log) -> None:
    log.write(b"one\ntwo\n")
    answer = log.get()
    assert (answer.status_code, answer.text) == (200, "one\ntwo\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    part = log.get(Range="bytes=4-")
    assert (part.status_code, part.text, part.headers["Content-Range"]) == (206, "two\n", "bytes 4-7/8")
    assert log.get(Range="bytes=8-").status_code == 416


def test_each_rank_has_its_own(log: Log) -> None:
    log.write(b"zero")
    log.write(b"three", rank=3)
    answer = log.gateway.http.get(log.url, params={"rank": 3}, headers=log.headers)
    assert answer.text == "three"


@pytest.mark.parametrize("rank", ["-1", "x", "../0", "4096", "\u0663", "", "9" * 5000, "000000" + "9" * 5000])
def test_a_rank_is_a_small_number(log: Log, rank: str) -> None:
    answer = log.gateway.http.get(log.url, params={"rank": rank}, headers=log.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_log_that_is_not_there_is_not_found(log: Log) -> None:
    answer = log.get()
    assert (answer.status_code, answer.json()["code"]) == (404, "no_log")


def test_an_attempts_id_is_not_a_path(log: Log) -> None:
    headers = log.gateway.token("attempt:..")
    assert log.gateway.http.get("/v1/attempts/%2e%2e/logs", headers=headers).status_code == 404


def test_a_link_in_place_of_a_log_is_not_followed(log: Log, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    log.folder.mkdir(parents=True)
    (log.folder / "rank-0.log").symlink_to(tmp_path / "secret")
    assert log.get().status_code >= 400


def test_a_stream_gives_every_line_with_the_offset_behind_it_and_then_the_end(log: Log) -> None:
    log.write(b"one\n\ntw\xff\nthree")
    log.end()
    lines = list(log.stream())
    assert [line for line in lines if line.startswith("id: ")] == ["id: 4", "id: 5", "id: 9", "id: 14"]
    assert data_of(iter(lines)) == ["one", "tw\ufffd", "three"]
    assert lines[-3:-1] == ["event: end", "data: "]


def test_a_stream_that_resumes_misses_nothing_and_repeats_nothing(log: Log) -> None:
    log.write(b"one\ntwo\nthree\n")
    log.end()
    assert data_of(log.stream(after="4")) == ["two", "three"]
    assert data_of(log.stream(after="14")) == []
    assert data_of(log.stream(after="999")) == []


def test_a_stream_follows_what_is_written_and_holds_half_a_line_back(log: Log) -> None:
    log.write(b"one\nhal")
    lines = log.stream()
    got = [next(lines) for _ in range(2)]
    assert got == ["data: one", "id: 4"]
    log.finish_soon(b"f\n")
    assert data_of(lines) == ["half"]


def test_a_stream_may_be_asked_for_before_there_is_a_log(log: Log) -> None:
    log.finish_soon(b"late\n")
    assert data_of(log.stream()) == ["late"]


def test_carriage_returns_of_progress_bars_do_not_break_the_stream(log: Log) -> None:
    log.write(b"10%\r20%\r\ndone\n")
    log.end()
    lines = list(log.stream())
    assert lines[:4] == ["data: 10%", "data: 20%", "data: ", "id: 9"]


def test_a_line_without_end_comes_in_pieces_and_in_full(log: Log) -> None:
    long = b"x" * (3 * tail.CHUNK_BYTES + 17)
    log.write(long)
    log.end()
    assert "".join(data_of(log.stream())) == long.decode()


def test_a_silent_stream_says_that_it_lives(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "HEARTBEAT_S", 0.2)
    lines = log.stream()
    assert next(lines) == ": nothing new"


def test_a_stream_stops_without_an_end_when_the_token_expires(log: Log) -> None:
    log.headers = log.gateway.token(f"attempt:{log.attempt}", expires_in_s=4)
    log.write(b"one\n")
    lines = log.stream()
    assert next(lines) == "data: one"
    log.write(b"two\n")
    rest = list(lines)
    assert data_of(iter(rest)) == ["two"]
    assert "event: end" not in rest


def test_a_stream_stops_when_the_attempt_is_fenced(log: Log) -> None:
    log.write(b"one\n")
    lines = log.stream()
    assert next(lines) == "data: one"
    log.gateway.board.fences([f"attempt:{log.attempt}"])
    assert "event: end" not in list(lines)
    assert log.get().json()["code"] == "fenced"
    log.gateway.board.fences([])


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "9" * 30])
def test_an_event_id_is_an_offset(log: Log, text: str) -> None:
    answer = log.get(**{"Accept": "text/event-stream", "Last-Event-ID": text})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_event_id")
