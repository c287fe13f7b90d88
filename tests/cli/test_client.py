"""Speaking REST: what is sent, what is tried again, what a person is told."""

from __future__ import annotations

import httpx
import pytest

from nordan_cli.client import PAUSES_S, Api, path_of
from nordan_cli.errors import Problem, Unreachable, Unreadable, WrongUse
from nordan_cli.invocation import Invocation
from nordan_core.clock import ManualClock
from support.fake_rest import FakeRest, problem


@pytest.fixture
def api(run: Invocation) -> Api:
    """The api of project default."""
    return Api(run, run.url, run.key, "default")


def test_each_call_carries_the_key_and_each_submission_a_key_of_its_own(api: Api, rest: FakeRest) -> None:
    rest.on("GET /v1/me", {}).on("POST /v1/x", {}, {}, {}, {})
    api.get("me")
    api.submit("x", {"a": "é"})
    api.submit("x", {})
    api.post("x")
    api.ask("x")
    assert {request.headers["Authorization"] for request in rest.requests} == {"Bearer nk_test"}
    me, first, second, posted, asked = rest.requests
    for other in (me, posted, asked):
        assert "Idempotency-Key" not in other.headers, "the server refuses it where it does not count"
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert first.content == '{"a": "é"}'.encode()
    assert posted.content == b"{}"


def test_a_submission_is_tried_again_under_the_same_idempotency_key(api: Api, rest: FakeRest) -> None:
    rest.on("POST /v1/x", httpx.ConnectError("refused"), httpx.ReadError("reset"), {"ok": True})
    assert api.submit("x", {}) == {"ok": True}
    assert len({request.headers["Idempotency-Key"] for request in rest.requests}) == 1
    assert len(rest.requests) == 3


def test_a_question_is_tried_again_without_a_key(api: Api, rest: FakeRest) -> None:
    rest.on("POST /v1/x", httpx.ReadError("reset"), problem(503, "unavailable", "busy"), {"ok": True})
    assert api.ask("x") == {"ok": True}


def test_what_would_be_done_twice_is_tried_again_only_when_it_cannot_have_arrived(api: Api, rest: FakeRest) -> None:
    rest.on("POST /v1/x", httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), {"ok": True})
    assert api.post("x") == {"ok": True}
    rest.on("POST /v1/y", httpx.ReadError("reset"), {"ok": True})
    with pytest.raises(Unreachable, match="It may have been done all the same"):
        api.post("y")
    rest.on("POST /v1/z", problem(503, "unavailable", "the database did not answer"), {"ok": True})
    with pytest.raises(Problem, match="the database did not answer"):
        api.post("z")
    assert [len(rest.sent(f"POST /v1/{name}")) for name in "xyz"] == [3, 1, 1]


def test_the_last_try_too_says_that_it_may_have_been_done(api: Api, rest: FakeRest) -> None:
    refused = [httpx.ConnectError("refused")] * len(PAUSES_S)
    rest.on("POST /v1/x", *refused, httpx.ReadError("reset"))
    with pytest.raises(Unreachable, match="It may have been done all the same"):
        api.post("x")
    assert len(rest.requests) == len(PAUSES_S) + 1


def test_503_is_tried_again_after_the_time_that_it_asks_for(api: Api, rest: FakeRest, clock: ManualClock) -> None:
    busy = problem(503, "unavailable", "no scheduler answers")
    busy.headers["Retry-After"] = "3"
    rest.on("GET /v1/x", busy, {"ok": True})
    before = clock.monotonic()
    assert api.get("x") == {"ok": True}
    assert clock.monotonic() - before == 3.0


def test_a_twin_in_progress_is_waited_for(api: Api, rest: FakeRest) -> None:
    rest.on("POST /v1/x", problem(409, "in_progress", "a twin is at work"), {"ok": True})
    assert api.submit("x", {}) == {"ok": True}


def test_patience_ends_within_a_quarter_of_a_minute(api: Api, rest: FakeRest, clock: ManualClock) -> None:
    rest.on("GET /v1/x", httpx.ConnectError("Connection refused"))
    before = clock.monotonic()
    with pytest.raises(Unreachable, match=r"no answer from http://nordan\.test: Connection refused\nIs it running"):
        api.get("x")
    assert clock.monotonic() - before < 15


def test_a_server_that_stays_busy_is_reported_in_its_own_words(api: Api, rest: FakeRest) -> None:
    rest.on("GET /v1/x", problem(503, "unavailable", "no scheduler answers"))
    with pytest.raises(Problem, match="no scheduler answers \\(unavailable\\)"):
        api.get("x")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_other_refusals_are_not_tried_again(api: Api, rest: FakeRest, status: int) -> None:
    rest.on("GET /v1/x", problem(status, "no", "because"))
    with pytest.raises(Problem):
        api.get("x")
    assert len(rest.requests) == 1


def test_a_problem_shows_fields_conflict_and_request(api: Api, rest: FakeRest) -> None:
    rest.on(
        "POST /v1/x",
        problem(
            422,
            "residency_unsatisfiable",
            "no pool may run this",
            errors=[{"field": "nodes", "message": "must be above zero"}],
            conflict=[{"layer": "job", "facet": "process", "value": ["DE"]}],
            relaxation={"facet": "process", "to": ["DE", "FR"]},
            nothing=None,
        ),
    )
    with pytest.raises(Problem) as error:
        api.post("x")
    assert str(error.value).splitlines() == [
        "no pool may run this (residency_unsatisfiable)",
        "  nodes: must be above zero",
        "  conflict: layer job, facet process, value DE",
        "  relaxation: facet process, to DE, FR",
        "  request: req-1",
    ]


def test_an_error_that_is_no_problem_document_still_has_a_sentence(api: Api, rest: FakeRest) -> None:
    rest.on("GET /v1/x", httpx.Response(502, content=b"<html>bad gateway</html>"))
    with pytest.raises(Problem, match=r"Bad Gateway \(HTTP 502\)"):
        api.get("x")


def test_a_redirect_is_not_followed(api: Api, rest: FakeRest) -> None:
    rest.on("GET /v1/x", httpx.Response(307, headers={"Location": "http://elsewhere.test/"}))
    with pytest.raises(Unreadable, match="redirects"):
        api.get("x")
    assert len(rest.requests) == 1


@pytest.mark.parametrize("body", [b"hello", b'"text"', b"\xff"])
def test_an_answer_that_is_no_object_is_reported(api: Api, rest: FakeRest, body: bytes) -> None:
    rest.on("GET /v1/x", httpx.Response(200, content=body))
    with pytest.raises(Unreadable):
        api.get("x")


def test_a_list_is_read_page_by_page_up_to_its_limit(api: Api, rest: FakeRest) -> None:
    rest.on(
        "GET /v1/things",
        {"items": [{"n": n} for n in range(100)], "next_cursor": "c1"},
        {"items": [{"n": n} for n in range(100, 200)], "next_cursor": "c2"},
    )
    assert [one["n"] for one in api.items("things", limit=150, state="queued")] == list(range(150))
    first, second = rest.requests
    assert dict(first.url.params) == {"limit": "100", "state": "queued"}
    assert dict(second.url.params) == {"limit": "50", "cursor": "c1", "state": "queued"}


def test_no_word_of_a_person_can_reach_another_resource() -> None:
    assert path_of("jobs", "../keys:x?y#z", verb="cancel") == "jobs/..%2Fkeys%3Ax%3Fy%23z:cancel"


@pytest.mark.parametrize("url", ["nordan.test", "ftp://nordan.test", "http://", "file:///etc/passwd"])
def test_an_address_must_be_http_or_https(run: Invocation, url: str) -> None:
    with pytest.raises(WrongUse, match="is not an address"):
        Api(run, url, "nk_test", "default")
