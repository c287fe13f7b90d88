"""The region's only way to its control plane: the worker API over HTTP, with the region's credential.

Used by the supervisor (redeem, sync, publish) and the gateway (commit, copies). One try per call; callers know what a
failure means to them and when to try again.

NordanError
├── Unavailable          no answer, or a broken one: try again later
├── CredentialRefused    the region's credential is not, or no longer, good
└── ApiRefused           a considered no; `code` and `status` say which
    └── StaleFence       the attempt has a newer fence, or none
"""

from __future__ import annotations

from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from nordan_core.domain.errors import NordanError, Unavailable
from nordan_core.wire import (
    ArtifactAccepted,
    CopySource,
    CopySourceRequest,
    PublishRequest,
    RedeemRequest,
    RedeemResponse,
    SyncDown,
    SyncUp,
    UploadCommit,
)
from nordan_workers.joining import Joined

TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_LIMITS = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=30.0)
STALE_FENCE = "stale_fence"

Answer = TypeVar("Answer", bound=BaseModel)


class ApiRefused(NordanError):
    """The control plane understood and said no."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail or f"the control plane refused with {status} {code}")
        self.status = status
        self.code = code


class StaleFence(ApiRefused):
    """What was sent belongs to an attempt that has lost its fence."""


class CredentialRefused(NordanError):
    """The region's credential is not good: it must join again."""

    def __init__(self) -> None:
        super().__init__("the control plane does not accept this region's credential; join the region again")


class WorkerApi:
    """Calls of one region; keeps connections open between them."""

    def __init__(self, joined: Joined, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=joined.api_url,
            headers={"Authorization": f"Bearer {joined.credential}", "Content-Type": "application/json"},
            timeout=TIMEOUT,
            limits=_LIMITS,
            transport=transport,
            # A proxy of the machine's environment is no place for a region's traffic.
            trust_env=False,
        )

    async def redeem(self, request: RedeemRequest) -> RedeemResponse:
        """Redeem grants; each answer stands alone."""
        return await self._post("/worker/v1/grants:redeem", request, RedeemResponse)

    async def sync(self, up: SyncUp) -> SyncDown:
        """Tell the region's state and learn what changed for it."""
        return await self._post("/worker/v1/sync", up, SyncDown)

    async def publish(self, request: PublishRequest) -> ArtifactAccepted:
        """Publish a checkpoint under the attempt's fence.

        Raises:
            StaleFence: the attempt must stop.
        """
        return await self._post("/worker/v1/artifacts", request, ArtifactAccepted)

    async def commit(self, upload: UploadCommit) -> ArtifactAccepted:
        """Say that an upload's bytes are in this region."""
        return await self._post("/worker/v1/uploads:commit", upload, ArtifactAccepted)

    async def copy_source(self, upload_id: str) -> CopySource:
        """Ask whence the bytes of a copy may be fetched."""
        return await self._post("/worker/v1/uploads:source", CopySourceRequest(upload_id=upload_id), CopySource)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _post(self, path: str, message: BaseModel, kind: type[Answer]) -> Answer:
        try:
            response = await self._http.post(path, content=message.model_dump_json())
        except httpx.HTTPError as error:
            raise Unavailable(f"the control plane does not answer: {type(error).__name__}") from error
        if response.status_code >= 300:
            raise _refusal(response)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise Unavailable("the control plane's answer has another form than this version knows") from error


def _refusal(response: httpx.Response) -> NordanError:
    status = response.status_code
    if status == 429 or status >= 500:
        return Unavailable(f"the control plane answers {status}", _retry_after_s(response))
    if status == 401:
        return CredentialRefused()
    code, detail = _problem(response)
    kind = StaleFence if status == 409 and code == STALE_FENCE else ApiRefused
    return kind(status, code, detail)


def _problem(response: httpx.Response) -> tuple[str, str]:
    """Return `code` and `detail` of an RFC 9457 body; empty texts for another body."""
    try:
        body = response.json()
    except ValueError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    return str(body.get("code", "")), str(body.get("detail", ""))


def _retry_after_s(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 1.0
