"""Following a job: attempt after attempt, through restarts of the api and of gateways; nothing twice, nothing lost."""

from __future__ import annotations

import httpx
import pytest

from nordan_core.clock import ManualClock
from support.command_line import Nordan
from support.fake_rest import FakeRest, access, attempt, job, problem, stream

ID = "job_00000000000000000000000abc"
GET = f"GET /v1/projects/default/jobs/{ID}"
LOGS = f"{GET}/logs"


def tail(number: int) -> str:
    """Return the route of an attempt's log."""
    return f"GET //gateway.test/v1/attempts/att_{number}/logs"


RUNNING = job("running", attempts=[attempt()])
DONE = job("succeeded", attempts=[attempt(state="ended", result="succeeded", exit_code=0)])
END = "event: end\ndata:"


@pytest.fixture(autouse=True)
def leave(rest: FakeRest) -> None:
    """The api gives leave to read logs."""
    rest.on(LOGS, access())


def test_later_attempts_are_followed_too(nordan: Nordan, rest: FakeRest) -> None:
    first = attempt(1, "ended", result="lost", reason="node_lost")
    recovering = job("recovering", reason="node_lost", attempts=[first])
    again = job("running", attempts=[first, attempt(2, region="se-bor-1")])
    rest.on(GET, RUNNING, recovering, again, job("succeeded", attempts=[first, attempt(2, "ended")]))
    rest.on(tail(1), stream("id: 4\ndata: one", END)).on(tail(2), stream("id: 4\ndata: two", END))
    ended = nordan("logs", "--follow", ID)
    assert (ended.code, ended.out) == (0, "one\ntwo\n")
    assert ended.err.splitlines() == [
        "digits running attempt 1 in fr-bru-1",
        "digits recovering attempt 1 in fr-bru-1 (node_lost)",
        "digits running attempt 2 in se-bor-1",
        "digits succeeded attempt 2 in fr-bru-1",
    ]
    assert [dict(request.url.params) for request in rest.sent(LOGS)] == [
        {"attempt": "1", "rank": "0"},
        {"attempt": "2", "rank": "0"},
    ]


def test_a_broken_stream_resumes_behind_the_last_line(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING, RUNNING, DONE)
    rest.on(tail(1), stream("id: 4\ndata: one"), httpx.ReadError("reset"), stream("id: 8\ndata: two", END))
    ended = nordan("logs", "--follow", ID)
    assert ended.out == "one\ntwo\n"
    assert [request.headers.get("Last-Event-ID") for request in rest.sent(tail(1))] == [None, "4", "4"]
    assert rest.sent(tail(1))[0].headers["Accept"] == "text/event-stream"


def test_an_event_cut_in_the_middle_is_not_printed_twice(nordan: Nordan, rest: FakeRest) -> None:
    cut = httpx.Response(200, content=b"id: 4\ndata: one\n\nid: 8\ndata: tw")
    rest.on(GET, RUNNING, DONE).on(tail(1), cut, stream("id: 8\ndata: two", END))
    assert nordan("logs", "--follow", ID).out == "one\ntwo\n"


def test_a_log_that_is_not_there_yet_is_waited_for(nordan: Nordan, rest: FakeRest, clock: ManualClock) -> None:
    rest.on(GET, job(), job("starting", attempts=[attempt(state="redeemed")]), RUNNING, DONE)
    rest.on(tail(1), problem(404, "not_found", "no log"), stream("id: 4\ndata: one", END))
    before = clock.monotonic()
    assert nordan("logs", "--follow", ID).out == "one\n"
    assert clock.monotonic() > before


def test_a_token_that_ran_out_is_replaced(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING, RUNNING, DONE)
    rest.on(tail(1), problem(401, "token_expired", "expired"), stream("id: 4\ndata: one", END))
    assert nordan("logs", "--follow", ID).out == "one\n"
    assert len(rest.sent(LOGS)) == 2


def test_an_api_that_is_away_is_waited_for_and_said_once(nordan: Nordan, rest: FakeRest) -> None:
    away = [httpx.ConnectError("refused")] * 14
    rest.on(GET, RUNNING, *away, DONE).on(tail(1), stream("id: 4\ndata: one", END))
    ended = nordan("logs", "--follow", ID)
    assert ended.code == 0
    assert ended.err.count("still trying") == 1


def test_an_api_that_stays_away_ends_it_at_last(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING, httpx.ConnectError("refused")).on(tail(1), stream("id: 4\ndata: one", END))
    ended = nordan("logs", "--follow", ID)
    assert ended.code == 1
    assert "no answer from http://nordan.test" in ended.err


def test_a_stream_that_never_says_end_is_left_when_the_attempt_has_ended(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING, RUNNING, DONE).on(tail(1), stream("id: 4\ndata: one", ": ping", ": ping", ": ping"))
    assert nordan("logs", "--follow", ID).out == "one\n"


def test_the_log_of_an_attempt_that_never_ran_is_not_waited_for(nordan: Nordan, rest: FakeRest) -> None:
    failed = job("failed", attempts=[attempt(state="ended", result="failed", reason="image_pull_failed")])
    rest.on(GET, failed).on(tail(1), problem(404, "not_found", "no log"))
    assert nordan("logs", "--follow", ID).code == 0
    assert len(rest.sent(tail(1))) == 1


def test_a_gateway_that_stays_away_after_the_end_is_given_up(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, DONE).on(tail(1), httpx.ConnectError("refused"))
    ended = nordan("logs", "--follow", ID)
    assert ended.code == 0
    assert "cannot be read now" in ended.err


def test_a_log_that_may_not_be_read_is_refused(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING).on(tail(1), problem(403, "fenced", "the attempt is fenced"))
    ended = nordan("logs", "--follow", ID)
    assert ended.code == 1
    assert "the attempt is fenced (fenced)" in ended.err


@pytest.mark.parametrize("state", ["held", "fenced"])
def test_a_job_that_waits_for_its_owner_is_not_waited_for(nordan: Nordan, rest: FakeRest, state: str) -> None:
    rest.on(GET, job(state, reason="fenced"))
    assert f"digits {state} (fenced)" in nordan("logs", "--follow", ID).err


def test_one_attempt_can_be_followed_alone(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, job("running", attempts=[attempt(1, "ended"), attempt(2)]))
    rest.on(tail(1), stream("id: 4\ndata: one", END))
    assert nordan("logs", "--follow", ID, "--attempt", "1").out == "one\n"
    assert not rest.sent(tail(2))


def test_bytes_reach_the_screen_as_they_were_written(nordan: Nordan, rest: FakeRest) -> None:
    line = "caf\u00e9 \u2028 \x0c \x1b[1mbold"
    rest.on(GET, RUNNING, DONE).on(tail(1), stream(f"id: 4\ndata: {line}", END))
    assert nordan("logs", "--follow", ID).out == f"{line}\n"


def test_without_follow_the_newest_attempts_log_is_printed_as_it_is(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, job("running", attempts=[attempt(1, "ended"), attempt(2)]))
    rest.on(tail(2), httpx.Response(200, content=b"one\ntwo"))
    ended = nordan("logs", ID, "--rank", "1")
    assert ended.out == "one\ntwo"
    assert dict(rest.sent(tail(2))[0].url.params) == {"rank": "1"}


def test_an_attempt_that_is_not_there_is_named(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, RUNNING)
    ended = nordan("logs", ID, "--attempt", "3")
    assert ended.code == 1
    assert "has 1 attempts, none of them number 3" in ended.err


def test_a_job_that_has_not_started_has_no_log(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(GET, job())
    ended = nordan("logs", ID)
    assert ended.code == 1
    assert "digits is queued and has not started" in ended.err
