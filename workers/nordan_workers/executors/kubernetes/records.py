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
    """The job's own variables, which the agent puts into `control/start`. They are not in the pod's object, where
    whoever may list pods would read them. Nordan's names are in the object and not here."""
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
