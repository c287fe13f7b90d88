"""What `up` asks of the api: is it there, apply this world, which regions are local, let one join.

Used by `up` alone, with the admin key. Answers are read narrowly, so api and `up` may differ by a version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError

from nordan_core.domain.errors import OperatorError, Unavailable
from nordan_core.embedded.world import Document, KnownPlaces
from nordan_core.wire import JoinBundle, JoinRequest

LOCAL = "local"
_TIMEOUT_S = 10.0
_UNKNOWN_KEY = (
    "The database does not know the admin key of this data folder: was it made for another database? Remove "
    "control/admin-key in the data folder and start again; a new key is made then."
)
#: Applying checks every document and may judge live work again.
_APPLY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LiveJob:
    """A job that is not over."""

    project: str
    id: str


class Admin:
    """The api, called with the admin key."""

    def __init__(self, url: str, key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        headers = {"User-Agent": "nordan-up"} | ({"Authorization": f"Bearer {key}"} if key else {})
        # A proxy of the environment has no business between this machine and itself.
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_S, transport=transport, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def answers(self) -> bool:
        """Tell whether the api is up and reaches its database."""
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def apply(self, documents: Sequence[Document]) -> int:
        """Apply a world and return how many documents changed something.

        Raises:
            OperatorError: the api refuses a document; the message is its own.
            Unavailable: it does not answer.
        """
        body = {"documents": list(documents)}
        answer = self._send("POST", "/v1/admin:apply", json=body, timeout=_APPLY_TIMEOUT_S)
        return sum(1 for one in _items(answer, "results") if one.get("action") != "unchanged")

    def places(self) -> KnownPlaces:
        """Return the regions and pools that the control plane knows.

        Raises:
            OperatorError, Unavailable: as `apply`.
        """
        regions, pools = (_items(self._send("GET", path), "items") for path in ("/v1/regions", "/v1/pools"))
        return KnownPlaces(
            frozenset(str(one.get("code") or one["name"]) for one in regions),
            frozenset(str(one["name"]) for one in pools),
        )

    def local_regions(self, timeout_s: float = _TIMEOUT_S) -> tuple[str, ...]:
        """Return the codes of the regions that run on this machine, or give up after the time.

        Raises:
            OperatorError, Unavailable: as `apply`.
        """
        regions = _items(self._send("GET", "/v1/regions", timeout=timeout_s), "items")
        return tuple(str(one.get("code") or one["name"]) for one in regions if one.get("executor") == LOCAL)

    def join(self, code: str, request: JoinRequest) -> JoinBundle:
        """Let a region join and return its bundle, which holds a new credential.

        Raises:
            OperatorError, Unavailable: as `apply`.
        """
        answer = self._send("POST", f"/v1/regions/{code}:join", json=request.model_dump(mode="json"))
        try:
            return JoinBundle.model_validate(answer)
        except ValidationError as error:
            raise OperatorError(
                f"The api's join bundle of {code} cannot be read: are api and CLI of one version?"
            ) from error

    def running_jobs(self) -> tuple[LiveJob, ...]:
        """Return the jobs that have a live attempt and were not cancelled, in every project that the key may see."""
        found: list[LiveJob] = []
        for project in _items(self._send("GET", "/v1/projects"), "items"):
            path = f"/v1/projects/{project['id']}/jobs"
            query: dict[str, Any] = {"state": _RUNNING_STATES, "limit": 500}
            while True:
                page = self._send("GET", path, params=query)
                running = (one for one in _items(page, "items") if self._has_place(path, one))
                found += [LiveJob(str(project["id"]), str(one["id"])) for one in running]
                if not page.get("next_cursor"):
                    break
                query["cursor"] = page["next_cursor"]
        return tuple(found)

    def _has_place(self, path: str, job: Document) -> bool:
        """Tell whether a job of these states runs: one that recovers may as well wait for its next attempt."""
        if job.get("state") != "recovering":
            return True
        attempts = _items(self._send("GET", f"{path}/{job['id']}/attempts"), "items")
        return any(one.get("state") != "ended" for one in attempts)

    def cancel(self, job: LiveJob) -> None:
        """Ask for a job's cancellation."""
        self._send("POST", f"/v1/projects/{job.project}/jobs/{job.id}:cancel")

    def _send(self, method: str, path: str, **options: Any) -> Any:  # Any: httpx's options, and JSON
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unavailable(f"the api at {self._client.base_url} does not answer") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"the api answered {answer.status_code} to {method} {path}")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise OperatorError(_UNKNOWN_KEY)
        if answer.is_error:
            raise OperatorError(f"The api refused {method} {path}: {_detail(answer)}")
        return answer.json() if answer.content else {}


#: Jobs that hold a place are in these states; what waits in the queue is not running.
_RUNNING_STATES = ("starting", "running", "recovering")


def _items(answer: Any, name: str) -> list[dict[str, Any]]:  # Any: JSON
    found = answer.get(name, []) if isinstance(answer, dict) else answer
    return [one for one in found if isinstance(one, dict)]


def _detail(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"status {answer.status_code}"
    text = str(problem.get("detail") or problem.get("title") or f"status {answer.status_code}")
    faults = [f"{one.get('field')}: {one.get('message')}" for one in _items(problem, "errors")]
    return "; ".join([text, *faults])
