"""One exchange with the gateway: what the agent says of its rank, and what the answer means for the shim."""

from __future__ import annotations

import json
from typing import Any

from nordan_workers.pod.client import Away, Client, Refused
from nordan_workers.pod.control import Control, boot_s

WAITING, RUNNING, ENDED = "waiting", "running", "ended"


def sync(client: Client, control: Control, state: str, end: str = "") -> float:
    """Say how far the rank is, hand deadline, stop and the word to start to the shim; return when to ask again.

    An attempt that the region does not hold any more is stopped: its end was told to the control plane, and the next
    attempt may have begun.

    Raises:
        Away: what the shim was told last stands.
        Refused: the region does not know us; where it says that the attempt is gone, the stop is told before.
    """
    asked_s = boot_s()
    try:
        answer = client.ask("POST", f"{client.rank_path}:sync", json.dumps({"state": state, "exit": end}).encode())
    except Refused as refused:
        if refused.is_gone:
            control.tell_stop(asked_s, 0.0)
        raise
    try:
        return _obeyed(answer, control, asked_s)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Away("an answer that is not understood") from error


def _obeyed(answer: dict[str, Any], control: Control, asked_s: float) -> float:  # Any: JSON
    control.tell_deadline(asked_s, float(answer["ttl_s"]))
    if (stop := answer["stop"]) is not None:
        # A stop that lies ahead of its own clock is one of another boot.
        control.tell_stop(asked_s + min(0.0, float(stop["after_s"])), float(stop["grace_s"]))
    if "start" in answer:
        control.tell_start(answer["start"])
    return min(30.0, max(0.2, float(answer["next_s"])))
