"""Inference traffic reaches a ready replica as it was sent, without the gateway's token, and comes back as a stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from nordan_core.identifiers import new_id
from nordan_workers.executors.base import Address
from support.gateways import GatewayUnderTest


class Replica(BaseHTTPRequestHandler):
    """Tells what it was asked; `/stream` answers in two pieces, the second when it is allowed to."""

    protocol_version = "HTTP/1.1"
    may_go_on = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode(), "method": self.command}
        data = json.dumps(told).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Model", "digits")
        self.send_header("Connection", "keep-alive, X-Hop")
        self.send_header("X-Hop", "1")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path != "/stream":
            self.do_POST()
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.flush()
        self.may_go_on.wait(10)
        self.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


class Service:
    """One service as a client sees it."""

    def __init__(self, gateway: GatewayUnderTest, *ports: int) -> None:
        self.gateway = gateway
        self.job = new_id("job")
        gateway.board.services([(self.job, new_id("att"), Address("127.0.0.1", port)) for port in ports])
        self.url = f"/v1/services/{self.job}"
        self.headers = gateway.token(f"service:{self.job}", "call")


def test_a_request_arrives_as_it_was_sent_but_for_the_token(gateway: GatewayUnderTest, port: int) -> None:
    service = Service(gateway, port)
    headers = {**service.headers, "X-Mine": "1", "Connection": "X-Drop", "X-Drop": "1", "TE": "trailers"}
    answer = gateway.http.post(service.url + "/v1/predict%20x/a%2Fb?q=1&q=2%20", content=b'{"x": 1}', headers=headers)
    told = answer.json()
    assert answer.status_code == 201
    assert told["path"] == "/v1/predict%20x/a%2Fb?q=1&q=2%20"
    assert told["body"] == '{"x": 1}'
    names = {name.lower() for name in told["headers"]}
    assert "x-mine" in names
    assert not names & {"authorization", "x-drop", "te"}
    assert told["headers"]["Host"] == f"127.0.0.1:{port}"


def test_an_answer_comes_back_without_what_belongs_to_the_connection(gateway: GatewayUnderTest, port: int) -> None:
    answer = gateway.http.get(Service(gateway, port).url, headers=Service(gateway, port).headers)
    assert answer.status_code == 403  # the token is for another job of the same name's place
    service = Service(gateway, port)
    answer = gateway.http.get(service.url, headers=service.headers)
    assert answer.headers["X-Model"] == "digits"
    assert "X-Hop" not in answer.headers
    assert answer.json()["path"] == "/"


def test_an_answer_is_passed_on_as_it_comes(gateway: GatewayUnderTest, port: int) -> None:
    Replica.may_go_on.clear()
    service = Service(gateway, port)
    with gateway.http.stream("GET", service.url + "/stream", headers=service.headers) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        Replica.may_go_on.set()
        assert b"".join(pieces) == b"second"


def test_a_fence_for_its_reader_breaks_an_answer_off(gateway: GatewayUnderTest, port: int) -> None:
    """It is never taken for a whole one; whoever else calls is served."""
    Replica.may_go_on.clear()
    service = Service(gateway, port)
    other = gateway.token(f"service:{service.job}", "call", subject="key_other")
    with gateway.http.stream("GET", service.url + "/stream", headers=service.headers) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first"
        gateway.board.fences([f"service:{service.job} for key_x"])
        Replica.may_go_on.set()
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
    assert gateway.http.get(service.url, headers=service.headers).json()["code"] == "fenced"
    assert gateway.http.get(service.url, headers=other).status_code == 201
    gateway.board.fences([])


def test_a_body_without_a_length_is_passed_on(gateway: GatewayUnderTest) -> None:
    # http.server reads no chunked body, so the replica here is the gateway's own blob route: it answers 401 after all.
    service = Service(gateway, int(gateway.url.rsplit(":", 1)[1]))
    answer = gateway.http.put(service.url + "/v1/blobs/x", content=iter([b"a", b"b"]), headers=service.headers)
    assert answer.status_code == 401


def test_without_a_ready_replica_the_client_is_told_to_come_again(gateway: GatewayUnderTest) -> None:
    service = Service(gateway)
    answer = gateway.http.get(service.url, headers=service.headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_replica_ready")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_replica_that_is_gone_is_passed_over(gateway: GatewayUnderTest, port: int) -> None:
    service = Service(gateway, 1, port)
    assert {gateway.http.get(service.url, headers=service.headers).status_code for _ in range(4)} == {201}


def test_a_token_to_read_may_not_call(gateway: GatewayUnderTest, port: int) -> None:
    service = Service(gateway, port)
    answer = gateway.http.get(service.url, headers=gateway.token(f"service:{service.job}"))
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_action")


def test_a_service_is_named_by_a_jobs_id(gateway: GatewayUnderTest) -> None:
    headers = gateway.token("service:..", "call")
    assert gateway.http.get("/v1/services/%2e%2e/x", headers=headers).status_code == 404
