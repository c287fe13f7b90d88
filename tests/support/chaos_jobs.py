"""Short jobs with known ends, submitted over REST by a client that is not put off by an api that dies meanwhile."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import httpx

from nordan_core.identifiers import new_id
from support.chaos_stack import ChaosStack, until

#: The rank's first act: if a command ran twice under one attempt, its file would have two lines.
_STARTED = 'echo "$NORDAN_FENCE" >> "$STARTS/$NORDAN_ATTEMPT.$NORDAN_NODE_RANK"\n'
_MODEL = 'echo "$NORDAN_ATTEMPT" > "$NORDAN_OUTPUT_DIR/model"; echo written\n'
#: Checkpoints as a program writes them: under a hidden name, renamed when complete.
_STEPS = """
for step in 1 2 3; do
    echo "$NORDAN_FENCE" > "$NORDAN_CHECKPOINT_DIR/.step-$step"
    mv "$NORDAN_CHECKPOINT_DIR/.step-$step" "$NORDAN_CHECKPOINT_DIR/step-$step"
    sleep 0.3
done
"""
LIVE = ("queued", "starting", "running", "recovering", "cancelling")
ENDS_S = 150.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job and the only end that is right for it."""

    name: str
    script: str
    share: int
    more: Mapping[str, Any] = field(default_factory=dict)  # Any: fields of the job document
    state: str = "succeeded"
    reason: str | None = None
    exit_code: int = 0
    attempts: int = 1
    checkpoints: int = 0
    cancelled_after_s: float | None = None
    """Cancelled so long after its submission: it then may or may not have begun."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that its job must have in the end."""
        return tuple(self.more.get("outputs", ()))


KINDS = (
    Kind("true", "true", 6),
    Kind("sleep", "sleep 0.3", 5),
    Kind("model", _MODEL, 4, {"outputs": ["model"]}),
    Kind("exit", f"{_MODEL}exit 3", 2, state="failed", reason="container_exit", exit_code=3),
    Kind("gang", "sleep 0.2", 2, {"nodes": 2}),
    Kind("steps", f"{_STEPS}{_MODEL}", 1, {"outputs": ["model"]}, checkpoints=3),
    Kind("limit", "exec sleep 60", 1, {"max_duration": 1}, state="failed", reason="max_duration", exit_code=143),
    Kind("cancel", "exec sleep 60", 2, state="cancelled", reason="cancelled_by_user", cancelled_after_s=0.4),
    # Its first attempt writes an output too, which must never be published.
    Kind(
        "again",
        f'{_MODEL}[ "$NORDAN_FENCE" -gt 1 ] || exit 3',
        1,
        {"outputs": ["model"], "retry": {"limit": 1, "on": ["container_exit"]}},
        attempts=2,
    ),
)
#: In no mix: it runs for as long as the stack may be away.
LONG = Kind("long", "sleep 6", 0)
BY_NAME = {kind.name: kind for kind in (*KINDS, LONG)}


class Jobs:
    """The jobs of one stack: submits them and remembers which end each must have."""

    def __init__(self, stack: ChaosStack) -> None:
        self.submitted: dict[str, Kind] = {}
        self.repeated = 0
        """Requests that had to be sent again."""
        self._cancellations: list[tuple[float, str]] = []
        self._stack = stack
        self._client = httpx.Client(timeout=20.0, trust_env=False)

    def submit(self, kind: Kind, *, region: str | None = None) -> str:
        """Submit one job, again and again under one idempotency key until the api has answered; return its id."""
        document = {
            "name": kind.name,
            "command": ["sh", "-c", _STARTED + kind.script],
            "env": {"STARTS": str(self._stack.starts)},
            **kind.more,
            **({"policy": {"process": [region[:2].upper()]}} if region else {}),
        }
        answer = self._ask("POST", "/jobs", json=document, headers={"Idempotency-Key": new_id("idk")})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        job: str = answer.json()["id"]
        self.submitted[job] = kind
        if kind.cancelled_after_s is not None:
            self._cancellations.append((time.monotonic() + kind.cancelled_after_s, job))
        self._cancel_what_is_due()
        return job

    def submit_mix(self, count: int, seed: int, *, pause_s: float = 0.0) -> None:
        """Submit a mix of kinds in an order that the seed decides."""
        for kind in a_mix(count, seed):
            self.submit(kind)
            time.sleep(pause_s)

    def wait_ends(self, timeout_s: float = ENDS_S) -> None:
        """Wait until every job has reached an end."""
        until(self._are_over, "every job to end", timeout_s)

    def live(self) -> list[dict[str, Any]]:  # Any: JSON
        """Return some of the jobs that have not ended."""
        found: list[dict[str, Any]] = self._ask("GET", "/jobs", params={"state": LIVE, "limit": 20}).json()["items"]
        return found

    def get(self, path: str) -> httpx.Response:
        """Ask the api for something of the project."""
        return self._ask("GET", path)

    def log(self, job: str) -> str:
        """Return the log of a job's first rank, as a client gets it: leave from the api, bytes from the gateway."""
        return self._content(self.get(f"/jobs/{job}/logs"))

    def output(self, job: str, name: str) -> str:
        """Return a job's output of one file, as a client gets it."""
        [artifact] = [one for one in self.get(f"/jobs/{job}/artifacts").json()["items"] if one["name"] == name]
        return self._content(self._ask("POST", f"/artifacts/{artifact['id']}:read"), f"/files/{name}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _are_over(self) -> bool:
        self._cancel_what_is_due()
        return not self._cancellations and not self.live()

    def _cancel_what_is_due(self) -> None:
        now = time.monotonic()
        due = [job for at, job in self._cancellations if at <= now]
        self._cancellations = [one for one in self._cancellations if one[0] > now]
        for job in due:
            answer = self._ask("POST", f"/jobs/{job}:cancel")
            # Asked again because the first answer was lost, the job may have ended meanwhile.
            assert answer.status_code in {httpx.codes.OK, httpx.codes.CONFLICT}, answer.text

    def _content(self, access: httpx.Response, path: str = "") -> str:
        where = access.json()
        headers = {"Authorization": f"Bearer {where['token']}"}
        until(lambda: self._is_served(where["url"]), "the gateway to listen")
        answer = self._client.get(where["url"] + path, headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.text

    def _is_served(self, url: str) -> bool:
        try:
            self._client.get(url)
        except httpx.TransportError:
            return False
        return True

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # Any: httpx's options
        headers = {"Authorization": f"Bearer {self._stack.key}", **options.pop("headers", {})}
        deadline = time.monotonic() + ENDS_S
        while True:
            url = f"{self._stack.url}/v1/projects/{self._stack.project}{path}"
            try:
                answer = self._client.request(method, url, headers=headers, **options)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE and not _is_in_progress(answer):
                    return answer
            assert time.monotonic() < deadline, f"the api did not answer {method} {path} in {ENDS_S:g} s"
            self.repeated += 1
            time.sleep(0.1)


class Submitting:
    """A thread that submits a mix of jobs during a block, or as long as the block lasts."""

    def __init__(self, jobs: Jobs, kinds: Iterator[Kind], pause_s: float) -> None:
        self._jobs = jobs
        self._kinds = kinds
        self._pause_s = pause_s
        self._enough = Event()
        self._fault: BaseException | None = None
        self._thread = Thread(target=self._run, name="submitting")

    def __enter__(self) -> Submitting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def enough(self) -> None:
        """Submit no more."""
        self._enough.set()

    def _run(self) -> None:
        try:
            for kind in self._kinds:
                if self._enough.is_set():
                    return
                self._jobs.submit(kind)
                time.sleep(self._pause_s)
        except BaseException as fault:  # noqa: BLE001  handed to the thread that waits
            self._fault = fault


def a_mix(count: int, seed: int, kinds: Sequence[Kind] = KINDS) -> list[Kind]:
    """Return so many kinds, each according to its share, every kind at least once."""
    if count < len(kinds):
        raise ValueError(f"{count} jobs leave out some of {len(kinds)} kinds, perhaps the one that is tried again")
    chance = random.Random(seed)
    drawn = [*kinds, *chance.choices(kinds, [kind.share for kind in kinds], k=count - len(kinds))]
    chance.shuffle(drawn)
    return drawn


def _is_in_progress(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.CONFLICT and answer.json().get("code") == "in_progress"
