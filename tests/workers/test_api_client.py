"""Each way in which the control plane can say no is its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import NordanError, Unavailable
from nordan_core.domain.ids import RegionCode
from nordan_core.wire import ManifestMessage, PublishRequest, SyncUp
from nordan_workers.api_client import ApiRefused, CredentialRefused, StaleFence, WorkerApi
from nordan_workers.joining import Joined

JOINED = Joined(RegionCode("r"), "http://api", "secret", "", {})
PUBLISH = PublishRequest(
    attempt_id="att_x", fence=1, kind=ArtifactKind.CHECKPOINT, name="step", manifest=ManifestMessage()
)


def publish(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    async def story() -> None:
        async with WorkerApi(JOINED, transport=httpx.MockTransport(answer)) as api:
            await api.publish(PUBLISH)

    asyncio.run(story())


CASES: dict[str, tuple[int, object, type[NordanError]]] = {
    "no credential": (401, {}, CredentialRefused),
    "a stale fence": (409, {"code": "stale_fence"}, StaleFence),
    "another conflict": (409, {"code": "other"}, ApiRefused),
    "a refusal": (422, {"code": "invalid", "detail": "no"}, ApiRefused),
    "a refusal that is no problem document": (403, [], ApiRefused),
    "too many requests": (429, {}, Unavailable),
    "a broken server": (500, {}, Unavailable),
    "a redirect": (307, {}, ApiRefused),
    "an answer of another form": (200, {"what": 1}, Unavailable),
}


@pytest.mark.parametrize("case", CASES)
def test_each_answer_is_its_own_error(case: str) -> None:
    status, body, kind = CASES[case]
    with pytest.raises(NordanError) as caught:
        publish(lambda _: httpx.Response(status, json=body))
    assert type(caught.value) is kind


def test_no_answer_is_a_reason_to_try_again_and_does_not_quote_the_request() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("secret", request=request)

    with pytest.raises(Unavailable) as caught:
        publish(fail)
    assert "secret" not in str(caught.value)


def test_a_busy_server_says_when_to_come_again() -> None:
    with pytest.raises(Unavailable) as caught:
        publish(lambda _: httpx.Response(503, headers={"Retry-After": "7"}))
    assert caught.value.retry_after_s == 7


def test_the_credential_is_sent_and_unknown_fields_of_an_answer_are_ignored() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return httpx.Response(200, json={"renewal": "", "newer": 1})

    async def story() -> None:
        async with WorkerApi(JOINED, transport=httpx.MockTransport(answer)) as api:
            assert (await api.sync(SyncUp(supervisor_id="s", nonce="ab" * 16))).renewal == ""

    asyncio.run(story())
