"""The real Celery worker on a real broker: nudges arrive, and nothing that is forged moves it."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nordan_core.identifiers import new_id
from nordan_core.queue import nudge
from nordan_workers.handover import SUPERVISOR_SOCKET
from nordan_workers.pulse import INTERVAL_S
from support.attempts import until
from support.brokers import Broker, broker, celery_worker
from support.fake_worker_api import FakeWorkerApi

FORGERIES = 2000


@dataclass
class Stage:
    """A broker, a worker, and what arrives at the supervisor's socket."""

    broker: Broker
    worker: subprocess.Popen[bytes]
    log: Path
    arrived: list[str] = field(default_factory=list)

    def arrives(self, grant_id: str) -> None:
        until(lambda: grant_id in self.arrived, "the grant id arrives")

    def works(self) -> None:
        """Show that the worker still does what it is for."""
        grant_id = new_id("grt")
        nudge(self.broker.url, grant_id)
        self.arrives(grant_id)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("r")
    (folder / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor, broker(folder) as made:
        supervisor.bind(str(folder / "run" / SUPERVISOR_SOCKET))
        api = FakeWorkerApi()
        api.url = "http://127.0.0.1:1"
        api.join_file(folder / "join.json", made.url)
        with celery_worker(folder) as worker:
            stage = Stage(made, worker, folder / "celery.log")
            receiver = threading.Thread(target=_receive, args=(supervisor, stage.arrived), daemon=True)
            receiver.start()
            stage.works()
            yield stage
        supervisor.shutdown(socket.SHUT_RDWR)
        receiver.join(5)


def _receive(supervisor: socket.socket, arrived: list[str]) -> None:
    while data := supervisor.recv(100):
        arrived.append(data.decode().rstrip("\n"))


def a_real_message(stage: Stage) -> dict[str, object]:
    stage.worker.send_signal(signal.SIGSTOP)
    try:
        # The worker has asked for one already, and gets it though it sleeps.
        for _ in range(2):
            nudge(stage.broker.url, new_id("grt"))
        message: dict[str, object] = json.loads(stage.broker.client.lindex("nudges", 0))  # type: ignore[arg-type]  # redis-py may be async
    finally:
        stage.worker.send_signal(signal.SIGCONT)
    return message


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda one: one["headers"].update(task="canary"),
    lambda one: one["headers"].update(eta="2030-01-01T00:00:00"),
    lambda one: one["headers"].update(expires="canary"),
    lambda one: one.update({"content-type": "application/x-python-serialize"}),
    lambda one: one.update(body="canary"),
    lambda one: one.update(headers=None),
    lambda one: one.update(canary={"__type__": "decimal", "__value__": "canary"}),
    lambda one: one.pop("properties"),
]


def forgeries(message: dict[str, object]) -> Iterator[bytes]:
    chance = random.Random(7)
    for number in range(FORGERIES // 10):
        yield chance.randbytes(60)
        yield json.dumps(["canary", number]).encode()
        for change in CHANGES:
            one = json.loads(json.dumps(message))
            change(one)
            yield json.dumps(one).encode()


def test_forged_messages_and_a_shutdown_change_nothing_and_are_not_quoted(stage: Stage) -> None:
    message = a_real_message(stage)
    stage.works()
    before = set(stage.arrived)
    with stage.broker.client.pipeline() as pipe:
        for one in forgeries(message):
            pipe.lpush("nudges", one)
        for channel in ("/0.celery.pidbox", "celery.pidbox", "/0.nordan.pidbox"):
            pipe.publish(channel, json.dumps({"method": "shutdown", "arguments": {}}))
        pipe.execute()
    stage.works()
    assert stage.worker.poll() is None
    assert len(set(stage.arrived) - before) == 1
    assert "canary" not in stage.log.read_text().lower()


def test_the_broker_holds_grant_ids_and_nothing_else_of_ours(stage: Stage) -> None:
    stage.works()
    keys = {key.decode() for key in stage.broker.client.scan_iter()}
    assert keys <= {"nudges", "_kombu.binding.nudges", "_kombu.binding_permanent.nudges"}


def test_a_broker_that_lost_everything_is_found_again(stage: Stage) -> None:
    stage.broker.kill()
    stage.broker.start()
    stage.works()


def test_it_shows_a_pulse_while_it_works_and_while_the_broker_is_away_but_not_while_it_hangs(stage: Stage) -> None:
    pulse = stage.log.with_name("worker.alive")

    def beats(within_s: float) -> bool:
        pulse.unlink(missing_ok=True)
        try:
            until(pulse.exists, "a beat", within_s)
        except pytest.fail.Exception:
            return False
        return True

    assert beats(2 * INTERVAL_S)
    stage.broker.kill()
    try:
        assert beats(2 * INTERVAL_S)
        assert beats(2 * INTERVAL_S)
    finally:
        stage.broker.start()
    stage.works()
    assert beats(2 * INTERVAL_S)
    stage.worker.send_signal(signal.SIGSTOP)
    try:
        assert not beats(1.5 * INTERVAL_S)
    finally:
        stage.worker.send_signal(signal.SIGCONT)
    stage.works()


def test_nudges_are_fast_enough_for_many_jobs(stage: Stage) -> None:
    grants = [new_id("grt") for _ in range(200)]
    for grant_id in grants:
        nudge(stage.broker.url, grant_id)
    until(lambda: set(grants) <= set(stage.arrived), "all arrive", 10)
