"""The embedded Valkey, started for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from nordan_core.embedded.data_dir import prepare_region
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.ports import LOOPBACK, Ports
from nordan_core.embedded.processes import ProcessTable, wait_until
from nordan_core.embedded.valkey import Valkey
from nordan_core.queue import QUEUE, nudge

CODE = "fr-bru-1"


@pytest.fixture
def broker(layout: Layout, identities: Identities) -> Iterator[Valkey]:
    prepare_region(layout.region(CODE), identities, 0)
    server = Valkey(layout, identities, CODE, 0, Ports(layout.ports, identities.operator).take("valkey"))
    server.prepare()
    table = ProcessTable(layout.processes)
    wait_until(table.ensure(server.spec()), server.answers, 20)
    yield server
    table.stop(table.names())


def command(url: str, *words: str) -> object:
    with redis.Redis.from_url(url) as client:
        return client.execute_command(*words)


def test_nobody_enters_without_a_password(broker: Valkey) -> None:
    for url in (f"redis://{LOOPBACK}:{broker.port}", f"redis://{CODE}:wrong@{LOOPBACK}:{broker.port}"):
        with pytest.raises(redis.AuthenticationError):
            command(url, "PING")


@pytest.mark.parametrize(
    "words",
    [
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "GET", "*"),
        ("FLUSHALL",),
        ("SHUTDOWN", "NOSAVE"),
        ("MONITOR",),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("PUBLISH", "a", "b"),
        ("EVAL", "return 1", "0"),
        ("MODULE", "LIST"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SAVE",),
    ],
)
def test_the_regions_user_cannot_do_more_than_a_queue_needs(broker: Valkey, words: tuple[str, ...]) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        command(broker.url, *words)


def test_the_regions_user_cannot_touch_other_keys(broker: Valkey) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        command(broker.url, "SET", "other", "1")


def test_a_nudge_goes_in_and_only_the_inspector_sees_all(broker: Valkey) -> None:
    nudge(broker.url, "grt_01hzzzzzzzzzzzzzzzzzzzzzzz")
    assert command(broker.inspector_url, "LLEN", QUEUE) == 1
    assert command(broker.inspector_url, "ACL", "LOG") == []
    with pytest.raises(redis.exceptions.NoPermissionError):
        command(broker.inspector_url, "DEL", QUEUE)


def test_nothing_is_kept_on_disk_and_secrets_are_closed(broker: Valkey) -> None:
    folder = broker.layout.region(CODE).broker
    nudge(broker.url, "grt_01hzzzzzzzzzzzzzzzzzzzzzzz")
    names = {entry.name for entry in folder.iterdir()}
    assert names == {"inspector-password", "password", "users.acl", "valkey.conf"}
    assert all(entry.stat().st_mode & 0o077 == 0 for entry in (folder, *folder.iterdir()))
    password = (folder / "password").read_text()
    assert password not in (folder / "users.acl").read_text()
