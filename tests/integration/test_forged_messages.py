"""Whoever has a region's broker password can write what he likes into its broker, and nothing changes."""

from __future__ import annotations

import base64
import json
import pickle
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from kombu.exceptions import OperationalError

from nordan_core.identifiers import new_id
from nordan_core.queue import celery_app
from support.chaos_stack import FR, SE, ChaosStack, until
from support.taps import inspector
from support.tenants import Tenant, add_project

FORGERIES = 10_000
HUGE = 1 << 20
SEED = 20260302
MARK = "forged0mark"
#: From submission to the program's start on a machine with nothing else to do it takes a tenth of this.
PROMPT_S = 10.0
DRAINED_S = 150.0
#: Everything that a message could change, in columns that do not move by themselves.
STATE = """
    select 'job', id, state, attempts_made::text from job
    union all select 'attempt', id, state, fence::text from attempt
    union all select 'grant', id, state, coalesce(redemption_id, '') || coalesce(supervisor_id, '') from attempt_grant
    union all select 'node', name, state, free_mask::text from node
    union all select 'entry', id, act, subject from audit_entry
    order by 1, 2
    """


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> tuple[Callable[[str, str], object], tuple[str, str]]:
        return open, (str(self.crater), "w")


@dataclass(frozen=True, slots=True)
class Forger:
    """Knows the password of one region's broker, and what a real message looks like."""

    broker_url: str
    real: dict[str, Any]
    """A message that was sent, as JSON."""
    grants: tuple[str, ...]
    """Grants that are or were: finished, running, waiting in another region."""
    crater: Path

    def forgeries(self) -> Iterator[bytes]:
        """Yield so many messages, of every kind about as many."""
        chance = random.Random(SEED)
        kinds: list[Callable[[random.Random], bytes]] = [
            lambda _: self._nudge(new_id("grt")),
            lambda chance: self._nudge(chance.choice(self.grants)),
            lambda _: json.dumps(self.real).encode(),
            lambda chance: self._nudge(chance.choice([new_id("job"), f"../{MARK}", MARK, "", new_id("grt") + "\n"])),
            lambda chance: self._other(headers={"task": chance.choice(["celery.chord_unlock", MARK, "os.system"])}),
            lambda chance: self._other(headers={chance.choice(["eta", "expires"]): "2030-01-01T00:00:00"}),
            lambda chance: self._other(headers={"retries": chance.randrange(1, 9), "errbacks": [MARK]}),
            lambda _: self._other(**{"content-type": "application/x-python-serialize", "body": self._pickle()}),
            lambda _: self._other(properties=None),
            lambda chance: json.dumps(chance.choice([[], MARK, 7, None, {"body": MARK}])).encode(),
            lambda chance: json.dumps(self.real).encode()[: chance.randrange(200)],
            lambda chance: chance.randbytes(chance.randrange(1, 200)),
        ]
        yield from (self._nudge(MARK * (HUGE // len(MARK))) for _ in range(8))
        yield b"[" * HUGE
        yield pickle.dumps(Bomb(self.crater))
        for number in range(FORGERIES - 10):
            yield kinds[number % len(kinds)](chance)

    def _nudge(self, grant_id: str) -> bytes:
        body = json.dumps([[grant_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
        return self._other(body=base64.b64encode(body.encode()).decode())

    def _other(self, **changes: Any) -> bytes:
        headers = {**self.real["headers"], **changes.pop("headers", {}), "id": new_id("tsk")}
        return json.dumps({**self.real, "headers": headers, **changes}).encode()

    def _pickle(self) -> str:
        return base64.b64encode(pickle.dumps(Bomb(self.crater))).decode()


@pytest.fixture(scope="module")
def tenant(admin: Tenant, organisation: str) -> Tenant:
    return add_project(admin, organisation, "forger")


@pytest.fixture
def forger(stack: ChaosStack, tenant: Tenant, tmp_path: Path) -> Iterator[Forger]:
    """A job has ended, one runs and one waits in the other region, whose worker stands still."""
    join = json.loads((stack.region(FR) / "join.json").read_text())
    here: dict[str, Any] = {"name": "here", "policy": {"process": ["FR"]}}
    tenant.runs({**here, "command": ["true"]})
    runs = tenant.submit({**here, "command": ["sleep", "300"]})
    tenant.reaches(runs, "running")
    with stack.stopped(stack.process(f"worker-{SE}")):
        waits = tenant.submit({"name": "there", "command": ["true"], "policy": {"process": ["SE"]}})
        tenant.reaches(waits, "starting")
        real = _a_real_message(stack, tenant, join["broker_url"], here)
        grants = tuple(grant for (grant,) in stack.rows("select id from attempt_grant"))
        yield Forger(join["broker_url"], real, grants, tmp_path / "crater")
    tenant.reaches(waits, "succeeded")
    tenant.ask("POST", f"/jobs/{runs}:cancel", json={"grace_s": 0}, expect=200)
    tenant.reaches(runs, "cancelled")


def _a_real_message(stack: ChaosStack, tenant: Tenant, broker_url: str, document: dict[str, Any]) -> dict[str, Any]:
    with inspector(broker_url, stack.region(FR)) as look, stack.stopped(stack.process(f"worker-{FR}")):
        # The worker has asked for one already and gets it, though it sleeps.
        jobs = [tenant.submit({**document, "command": ["true"]}) for _ in range(2)]
        until(lambda: bool(look.llen("nudges")), "a message to wait")
        real: dict[str, Any] = json.loads(look.lrange("nudges", 0, 0)[0])
    for job in jobs:
        tenant.reaches(job, "succeeded")
    return real


def test_ten_thousand_forged_messages_and_orders_to_the_worker_change_nothing(
    stack: ChaosStack, tenant: Tenant, forger: Forger
) -> None:
    """No attempt, no entry in the log, no other process; and the next job starts as promptly as ever."""
    names = (f"worker-{FR}", f"supervisor-{FR}")
    before, processes = stack.rows(STATE), [stack.process(name) for name in names]
    with redis.Redis.from_url(forger.broker_url) as line:
        # A pipeline at a time, so that the broker's memory holds it.
        messages = list(forger.forgeries())
        assert len(messages) == FORGERIES
        for start in range(0, FORGERIES, 500):
            with line.pipeline(transaction=False) as pipe:
                for message in messages[start : start + 500]:
                    pipe.lpush("nudges", message)
                pipe.execute()
        _order_about(forger.broker_url, line)
        until(lambda: line.llen("nudges") == 0, "the worker to have seen them all", DRAINED_S)
    # The supervisor asks about grants in the order in which it heard of them: the next job's comes last.
    job, asked_at = tenant.submit({"name": "next", "command": ["sleep", "1"], "policy": {"process": ["FR"]}}), _now_s()
    tenant.reaches(job, "running", "succeeded")
    assert _now_s() - asked_at < PROMPT_S
    tenant.reaches(job, "succeeded")
    assert [process for process in processes if not process.is_alive()] == []
    own = _ids_of(stack, job)
    assert [row for row in stack.rows(STATE) if not own & set(row)] == before
    assert not forger.crater.exists()
    assert MARK.encode() not in b"".join(path.read_bytes() for path in stack.data.glob("logs/*"))


def _ids_of(stack: ChaosStack, job: str) -> set[str]:
    query = "select a.id, g.id from attempt a join attempt_grant g on g.attempt_id = a.id where a.job_id = %(job)s"
    return {job} | {name for row in stack.rows(query, {"job": job}) for name in row}


def _now_s() -> float:
    return time.monotonic()


def _order_about(broker_url: str, line: redis.Redis) -> None:
    """Send what Celery's remote control would, by its own means and by hand."""
    orders: list[tuple[str, dict[str, Any]]] = [
        ("shutdown", {}),
        ("pool_restart", {"arguments": {"reload": True}}),
        ("rate_limit", {"arguments": {"task_name": "nordan.nudge", "rate_limit": "1/h"}}),
    ]
    for order, options in orders:
        with Connection(broker_url) as connection, pytest.raises(OperationalError, match="no permissions"):
            celery_app(broker_url).control.broadcast(order, connection=connection, **options)
        for channel in ("/0.celery.pidbox", "celery.pidbox", "/0.celeryev/worker.#"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                line.publish(channel, json.dumps({"method": order, **options}))
