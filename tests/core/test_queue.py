"""A nudge carries grant ids, and fails fast when the broker does not take it."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator

import pytest

from nordan_core.domain.errors import Unavailable
from nordan_core.identifiers import new_id
from nordan_core.queue import celery_app, nudge
from support.brokers import Broker, broker

LIMIT_S = 2.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("broker")) as made:
        yield made


def refused_within_limit(url: str) -> None:
    begun_s = time.monotonic()
    with pytest.raises(Unavailable):
        nudge(url, new_id("grt"))
    assert time.monotonic() - begun_s < LIMIT_S


def test_the_message_holds_the_grant_ids_and_nothing_else(made: Broker) -> None:
    grant_ids = [new_id("grt"), new_id("grt")]
    nudge(made.url, *grant_ids)
    message = json.loads(made.client.lindex("nudges", 0))  # type: ignore[arg-type]  # redis-py may be async
    arguments, options, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments, options) == (grant_ids, {})
    assert message["headers"]["expires"] is not None
    assert message["headers"]["argsrepr"] == str(grant_ids)


def test_nobody_listening_fails_fast() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        refused_within_limit(f"redis://127.0.0.1:{probe.getsockname()[1]}/0")


def test_a_silent_listener_fails_fast() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        refused_within_limit(f"redis://u:p@127.0.0.1:{silent.getsockname()[1]}/0")


def test_a_broker_that_froze_fails_fast_and_works_again_after(made: Broker) -> None:
    nudge(made.url, new_id("grt"))
    made.freeze()
    try:
        refused_within_limit(made.url)
        refused_within_limit(made.url)
    finally:
        made.thaw()
    nudge(made.url, new_id("grt"))


def test_a_broker_that_was_restarted_is_found_again(made: Broker) -> None:
    nudge(made.url, new_id("grt"))
    made.kill()
    refused_within_limit(made.url)
    made.start()
    nudge(made.url, new_id("grt"))
    assert made.client.llen("nudges") == 1


def test_the_application_takes_json_only_and_obeys_nobody() -> None:
    conf = celery_app("redis://127.0.0.1:1/0").conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.worker_enable_remote_control is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result is True
    assert conf.result_backend is None


def test_a_broker_url_with_a_password_is_not_shown() -> None:
    with pytest.raises(Unavailable) as caught:
        nudge("redis://user:secret@127.0.0.1:1/0", new_id("grt"))
    assert "secret" not in str(caught.value)
