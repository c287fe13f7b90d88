"""Files through which executor, gateway and a pod's agent speak, in `attempts/<attempt>/` of the region's folder.

`deadline.json` and `stop.json` are the shim's own (`nordan_workers.shim.records`): the executor writes them, the
gateway reads them and tells the agent. `pod.json` is written once, when the attempt is prepared. `rank-<n>/agent.json`
is written by the gateway each time an agent speaks. Nothing here passes through the API server of the cluster, so
deadlines are extended and stops are obeyed while it is away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

POD = "pod.json"
AGENT = "agent.json"
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What the gateway must know of an attempt whose ranks are pods. 0600: holds a secret and the tenant's values."""

    token: str = field(repr=False)
    """What the attempt's agents show to the gateway, 32 random bytes in hex; gone with the attempt."""
    ranks: tuple[int, ...]
    env: Mapping[str, str] = field(repr=False)
    """The variables of the attempt's programs, which the agent puts into `control/start`. They are not in the pod's
    object, where whoever may list pods would read them."""
    log_limit_bytes: int
    """Bytes of one rank's log that are kept."""


class AgentState(StrEnum):
    """How far a rank is, in its agent's words."""

    WAITING = "waiting"
    """The program has not begun."""
    RUNNING = "running"
    ENDED = "ended"
    """The program and all that it started are gone."""


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """The last word of a rank's agent: the only news of a rank whose node the API server does not hear."""

    boot_id: str
    at_s: float
    """Boot-time clock of the gateway, of that boot."""
    state: str
    """An `AgentState`."""
    exit: str = ""
    """The helper's exit record as JSON, as in the container's termination message; empty until the end is known."""


# The executor's own notes, which only it reads. Those of a rank lie in `rank-<n>/`.
LAUNCHED = "launched.json"
CONDEMNED = "condemned.json"
CREATED = "created.json"
STARTED = "started.json"
ENDED = "ended.json"


@dataclass(frozen=True, slots=True)
class Launched:
    """What is needed of the order after a restart."""

    boot_id: str
    at_s: float
    """Boot-time clock of that boot."""
    grace_s: float
    port: int | None
    """Where an inference replica listens."""


@dataclass(frozen=True, slots=True)
class Condemned:
    """Why the executor gives an attempt up; written before anything is done about it."""

    cause: str
    """A `Reason`."""
    message: str


@dataclass(frozen=True, slots=True)
class Created:
    """A pod of this rank was made: if it is not there any more, it has ended, and no other is made."""

    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class Started:
    """When the job's container began to run."""

    boot_id: str
    at_s: float
    """Boot-time clock of that boot of the supervisor's machine, not the node's."""
    wall_s: float
    """The same instant by the wall clock, for a supervisor on another machine or after another boot."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the rank ended, by all that could be known: kept, because the pod's object goes away."""

    is_lost: bool
    cause: str
    """A `Reason`, or empty."""
    message: str
    started_at_s: float | None
    ended_at_s: float
    exit_code: int | None
    signal: int | None
    user_s: float
    system_s: float
    max_rss_kib: int
    oom: bool
    at_deadline: bool
