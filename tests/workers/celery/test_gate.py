"""Only a message that is exactly a nudge reaches Celery; a grant id that is exactly one reaches the supervisor."""

from __future__ import annotations

import base64
import copy
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nordan_core.queue import MOST_GRANTS
from nordan_workers.broker import nudged_grants
from nordan_workers.handover import hand_over
from nordan_workers.supervisor.inbox import MAX_DATAGRAM

#: Fixed: names of parametrised tests must be the same in every process.
GRANT = "grt_01m7zzzzzzzzzzzzzzzzzzzzzz"
ANOTHER_KIND = "job_01m7zzzzzzzzzzzzzzzzzzzzzz"


def body(*parts: object) -> str:
    return base64.b64encode(json.dumps(list(parts)).encode()).decode()


EMBEDDED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
NUDGE: dict[str, Any] = {
    "body": body([GRANT], {}, EMBEDDED),
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {"task": "nordan.nudge", "id": "x", "eta": None, "expires": None, "retries": 0, "group": None},
    "properties": {
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": "nudges"},
        "body_encoding": "base64",
    },
}


def altered(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    message = copy.deepcopy(NUDGE)
    change(message)
    return message


FORGED: dict[str, object] = {
    "not an object": [],
    "a number": 7,
    "nothing": None,
    "another task": altered(lambda one: one["headers"].update(task="celery.backend_cleanup")),
    "a task that is no text": altered(lambda one: one["headers"].update(task=["nordan.nudge"])),
    "for later": altered(lambda one: one["headers"].update(eta="2030-01-01T00:00:00")),
    "a retry": altered(lambda one: one["headers"].update(retries=1)),
    "part of a group": altered(lambda one: one["headers"].update(group="g")),
    "stamped": altered(lambda one: one["headers"].update(stamped_headers=["x"], stamps={"x": 1})),
    "without headers": altered(lambda one: one.pop("headers")),
    "headers that are no object": altered(lambda one: one.update(headers=None)),
    "without properties": altered(lambda one: one.pop("properties")),
    "a tag that is no text": altered(lambda one: one["properties"].update(delivery_tag=[])),
    "without delivery": altered(lambda one: one["properties"].pop("delivery_info")),
    "pickled": altered(lambda one: one.update({"content-type": "application/x-python-serialize"})),
    "compressed": altered(lambda one: one.update({"content-encoding": "binary"})),
    "a body that is not base64": altered(lambda one: one.update(body="!!")),
    "a body that is not JSON": altered(lambda one: one.update(body=base64.b64encode(b"{").decode())),
    "a body too long": altered(lambda one: one.update(body=body([GRANT], {"x": "y" * 2000}, EMBEDDED))),
    "no argument": altered(lambda one: one.update(body=body([], {}, EMBEDDED))),
    "an argument that is no grant": altered(lambda one: one.update(body=body([GRANT, ANOTHER_KIND], {}, EMBEDDED))),
    "too many arguments": altered(lambda one: one.update(body=body([GRANT] * (MOST_GRANTS + 1), {}, EMBEDDED))),
    "arguments that are an object": altered(lambda one: one.update(body=body({GRANT: 1}, {}, EMBEDDED))),
    "arguments that are a text": altered(lambda one: one.update(body=body(GRANT, {}, EMBEDDED))),
    "a named argument": altered(lambda one: one.update(body=body([GRANT], {"grant_id": GRANT}, EMBEDDED))),
    "with a callback": altered(lambda one: one.update(body=body([GRANT], {}, {"callbacks": [{"task": "x"}]}))),
    "another kind of id": altered(lambda one: one.update(body=body([ANOTHER_KIND], {}, EMBEDDED))),
    "a path": altered(lambda one: one.update(body=body(["../../x"], {}, EMBEDDED))),
    "an id and a line": altered(lambda one: one.update(body=body([GRANT + "\n"], {}, EMBEDDED))),
}


def test_a_nudge_passes() -> None:
    assert nudged_grants(NUDGE) == (GRANT,)


def test_a_full_nudge_passes() -> None:
    grants = [f"grt_01m7zzzzzzzzzzzzzzzzzzzz{number:02}" for number in range(MOST_GRANTS)]
    assert nudged_grants(altered(lambda one: one.update(body=body(grants, {}, EMBEDDED)))) == tuple(grants)


@pytest.mark.parametrize("kind", FORGED)
def test_anything_else_does_not(kind: str) -> None:
    assert nudged_grants(FORGED[kind]) == ()


def test_a_grant_id_is_handed_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "s"))
        assert hand_over([GRANT], tmp_path / "s")
        assert supervisor.recv(100) == GRANT.encode() + b"\n"


@pytest.mark.parametrize("text", ["", "grt_", GRANT + "\n", "x" * 1000, ANOTHER_KIND, None, 7, ["x"]])
def test_what_is_no_grant_id_is_not(tmp_path: Path, text: object) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "s"))
        supervisor.setblocking(False)
        assert not hand_over([GRANT, text], tmp_path / "s")
        with pytest.raises(BlockingIOError):
            supervisor.recv(100)


def test_all_ids_of_a_message_are_handed_over_at_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "s"))
        assert hand_over([GRANT] * MOST_GRANTS, tmp_path / "s")
        assert supervisor.recv(MAX_DATAGRAM).decode().split() == [GRANT] * MOST_GRANTS


def test_nothing_is_no_nudge(tmp_path: Path) -> None:
    assert not hand_over([], tmp_path / "nobody")


def test_without_a_supervisor_the_nudge_is_dropped(tmp_path: Path) -> None:
    assert not hand_over([GRANT], tmp_path / "nobody")
