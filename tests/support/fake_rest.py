"""A control plane and a gateway in one process: answers that a test laid down, and every request that came."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, cast

import httpx

Handler = Callable[[httpx.Request], httpx.Response]
Answer = Mapping[str, Any] | httpx.Response | BaseException | Handler

URL = "http://nordan.test"
GATEWAY = "http://gateway.test"


class FakeRest:
    """Answers in the order in which they were laid down for a route; the last one stays."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        self._otherwise: Handler | None = None

    def on(self, route: str, *answers: Answer) -> FakeRest:
        """Lay down answers for `METHOD /path`; a mapping becomes JSON, an error is raised."""
        self._answers[route] += answers
        return self

    def first(self, route: str, answer: Answer) -> FakeRest:
        """Lay down an answer before those that a route has already."""
        self._answers[route].insert(0, answer)
        return self

    def otherwise(self, handler: Handler) -> FakeRest:
        """Let a function answer whatever has no answer of its own."""
        self._otherwise = handler
        return self

    @property
    def transport(self) -> httpx.MockTransport:
        """Return what a client sends its requests through."""
        return httpx.MockTransport(self._handle)

    def sent(self, route: str) -> list[httpx.Request]:
        """Return the requests that came for `METHOD /path`, in order."""
        return [request for request in self.requests if _route(request) == route]

    def bodies(self, route: str) -> list[Any]:
        """Return the JSON bodies that came for `METHOD /path`."""
        return [json.loads(request.content) for request in self.sent(route)]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answers = self._answers.get(_route(request))
        if not answers and self._otherwise:
            return self._otherwise(request)
        if not answers:
            return problem(404, "not_found", f"nothing is at {_route(request)}")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, httpx.Response):  # a fresh one each time: a stream is read once
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        if callable(answer):
            return answer(request)
        return httpx.Response(200, json=cast(Any, answer))


def problem(status: int, code: str, detail: str, **members: object) -> httpx.Response:
    """Return a problem document as an answer."""
    body = {"type": "about:blank", "title": "Refused", "status": status, "code": code, "detail": detail}
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, json={**body, "request_id": "req-1", **members}, headers=headers)


def access(**members: object) -> dict[str, object]:
    """Return leave to talk to the gateway."""
    return {"url": GATEWAY, "token": "pass-1", "expires_at": "2026-11-01T01:00:00+00:00", **members}


def job(state: str = "queued", **members: object) -> dict[str, object]:
    """Return a job as the api sends it."""
    shown = {"id": "job_00000000000000000000000abc", "name": "digits", "kind": "training", "project": "prj_1"}
    times = {"created_at": "2026-10-31T23:57:00+00:00", "started_at": None, "finished_at": None}
    return {**shown, "state": state, "reason": None, "message": "", "gpus": 16, "nodes": 2, **times, **members}


def attempt(number: int = 1, state: str = "running", **members: object) -> dict[str, object]:
    """Return an attempt as the api sends it."""
    place = {"region": "fr-bru-1", "pool": "fr-bru-1-h100", "nodes": ["fr-bru-1-h100-1", "fr-bru-1-h100-2"]}
    times = {"started_at": "2026-10-31T23:58:00+00:00", "ended_at": None}
    shown = {"id": f"att_{number}", "number": number, "state": state, "result": None, "reason": None, "message": ""}
    return {**shown, "exit_code": None, **place, **times, "cost_eur": "0.125000", **members}


def stream(*events: str) -> httpx.Response:
    """Return server-sent events, each given as its lines."""
    text = "".join(f"{event}\n\n" for event in events)
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=text.encode())


def _route(request: httpx.Request) -> str:
    host = "" if request.url.host == "nordan.test" else f"//{request.url.host}"
    return f"{request.method} {host}{request.url.path}"
