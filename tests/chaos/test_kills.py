"""`kill -9` of every part of a running stack, one after another, while short jobs run."""

from __future__ import annotations

import json
import random
import time
from threading import Event, Thread

import httpx
import pytest

from nordan_core.queue import QUEUE
from support.chaos_audit import Books
from support.chaos_jobs import BY_NAME, Jobs, Submitting, a_mix
from support.chaos_stack import FR, SE, ChaosStack, until
from support.taps import inspector

pytestmark = pytest.mark.chaos
SEED = 20260301
COUNT = 200
SUBMIT_EVERY_S = 0.12
#: Between two kills: long enough for the next to meet a stack that works, short enough to meet jobs under way.
PAUSE_S = 1.3


def test_two_hundred_jobs_end_right_although_each_process_is_killed_in_turn(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    chance = random.Random(SEED)
    parts = [f"{part}-{code}" for part in ("worker", "supervisor", "gateway", "valkey") for code in (FR, SE)]
    victims = ["api", "scheduler", *parts]
    chance.shuffle(victims)
    with Submitting(jobs, iter(a_mix(COUNT, SEED)), pause_s=SUBMIT_EVERY_S):
        for victim in victims:
            time.sleep(PAUSE_S * chance.uniform(0.5, 1.5))
            until(lambda: _attempts_under_way(stack) > 0, f"jobs to run before {victim} is killed")
            name = stack.leader()[0] if victim == "scheduler" else victim
            stack.wait_replaced(name, stack.kill(name))
    jobs.wait_ends()
    books.check()


def test_messages_that_lay_in_a_killed_broker_are_made_again(stack: ChaosStack, jobs: Jobs, books: Books) -> None:
    """The worker stands still, so what is sent lies in the broker, and is lost with it: nothing is kept on disk."""
    worker, broker = stack.process(f"worker-{FR}"), f"valkey-{FR}"
    with stack.stopped(worker):
        submitted = [jobs.submit(BY_NAME[name], region=FR) for name in ("true", "model", "gang", "again") for _ in "12"]
        # The worker may have asked for one message already; it is told that one though it sleeps.
        with inspector(
            json.loads((stack.region(FR) / "join.json").read_text())["broker_url"], stack.region(FR)
        ) as look:
            until(lambda: look.llen(QUEUE) > 0, "messages to lie in the broker")
        stack.wait_replaced(broker, stack.kill(broker))
    jobs.wait_ends()
    assert {jobs.get(f"/jobs/{job}").json()["state"] for job in submitted} == {"succeeded"}
    books.check()


def test_while_postgres_recovers_the_api_answers_503_and_then_all_goes_on(
    stack: ChaosStack, jobs: Jobs, books: Books
) -> None:
    with Watching(stack) as watch, Submitting(jobs, iter(a_mix(40, SEED + 1)), pause_s=0.05):
        for _ in range(2):
            time.sleep(0.7)
            stack.wait_replaced("postgres", stack.kill("postgres"))
            watch.wait_answer()
    jobs.wait_ends()
    assert set(watch.answers) == {200, 503}, "no other answer is right while the database is away"
    books.check()


def test_a_killed_up_finds_everything_again(stack: ChaosStack, jobs: Jobs, books: Books) -> None:
    long = BY_NAME["long"]
    running = [jobs.submit(long, region=code) for code in (FR, SE)]
    until(lambda: all(stack.has_started(job) for job in running), "the jobs to run")
    jobs.submit_mix(20, SEED + 2)
    stack.up.kill()
    stack.up.wait()
    stack.start()
    jobs.submit_mix(20, SEED + 3)
    jobs.wait_ends()
    books.check()


def test_logs_and_outputs_are_read_through_gateways_that_were_killed(stack: ChaosStack, jobs: Jobs) -> None:
    for code in (FR, SE):
        job = jobs.submit(BY_NAME["model"], region=code)
        jobs.wait_ends()
        name = f"gateway-{code}"
        stack.wait_replaced(name, stack.kill(name))
        [attempt] = jobs.get(f"/jobs/{job}/attempts").json()["items"]
        assert jobs.output(job, "model") == f"{attempt['id']}\n"
        assert jobs.log(job) == "written\n"


def _attempts_under_way(stack: ChaosStack) -> int:
    ((count,),) = stack.rows("select count(*) from attempt where state <> 'ended'")
    return int(count)


class Watching:
    """Asks the api without a pause during a block and keeps the statuses that it gave."""

    def __init__(self, stack: ChaosStack) -> None:
        self.answers: list[int] = []
        self._stack = stack
        self._enough = Event()
        self._thread = Thread(target=self._run, name="watching")

    def wait_answer(self) -> None:
        """Wait until the api has answered as usual once more."""
        since = len(self.answers)
        until(lambda: 200 in self.answers[since:], "the api to answer again")

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self._stack.key}"}
        with httpx.Client(base_url=self._stack.url, headers=headers, timeout=30.0, trust_env=False) as client:
            while not self._enough.is_set():
                path = f"/v1/projects/{self._stack.project}/jobs"
                self.answers.append(client.get(path, params={"limit": 1}).status_code)
                time.sleep(0.02)
