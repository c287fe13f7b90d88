"""What an agent is told each second or so: how long its rank may run on, whether to stop, what to start with.

Times are sent as lengths, counted from now on this machine's boot-time clock; the agent adds them to the moment when
it asked, so that the way takes from the rank's time and never adds to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nordan_core.clock import Clock
from nordan_workers.executors.kubernetes.records import AGENT, AgentRecord, AgentState, PodRecord
from nordan_workers.gateway.problems import Problem
from nordan_workers.shim.records import DEADLINE, STOP, Deadline, Stop, read, write

LEAST_PAUSE_S = 1.0
MOST_PAUSE_S = 5.0
#: Agents that are told the least pause; more of them ask less often.
PODS_PER_S = 200
#: An agent that has not asked for so long is not counted.
SILENT_S = 15.0
#: An agent's word is written down when it is new, and otherwise so often.
NOTE_S = 2.0
MAX_EXIT_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent says when it asks."""

    state: AgentState
    exit: str = ""

    @staticmethod
    def parse(body: bytes) -> Ask:
        """Read the request's body; raises Problem 422."""
        try:
            document = json.loads(body or b"{}")
            state, end = AgentState(document["state"]), document.get("exit", "")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Problem(422, "invalid", f"state is one of {', '.join(AgentState)}") from error
        if not isinstance(end, str) or len(end) > MAX_EXIT_CHARS:
            raise Problem(422, "invalid", f"exit is the record's text, at most {MAX_EXIT_CHARS} characters")
        return Ask(state, end)


@dataclass(slots=True)
class PodSync:
    """Answers agents; remembers when each asked, to tell all how often they may."""

    clock: Clock
    boot_id: str
    _asked_s: dict[tuple[Path, int], float] = field(default_factory=dict)
    _noted: dict[tuple[Path, int], AgentRecord] = field(default_factory=dict)
    _looked_s: float = 0.0
    """When silent agents were last forgotten."""

    def answer(self, record: PodRecord, folder: Path, rank: int, ask: Ask) -> dict[str, Any]:  # Any: JSON
        """Return the answer for one rank of the attempt whose records are in `folder`.

        Raises:
            Problem: 503 when the attempt's deadline is not known here: the agent keeps to what it was told last.
        """
        now_s = self.clock.monotonic()
        self._note(folder, rank, ask, now_s)
        deadline = read(folder / DEADLINE, Deadline)
        if deadline is None or deadline.boot_id != self.boot_id:
            # Written on another machine, whose clock is not ours; whoever renews the grant writes it anew.
            raise Problem(503, "deadline_unknown", "the deadline is not known here now", headers={"Retry-After": "1"})
        stop = read(folder / STOP, Stop)
        answer: dict[str, Any] = {
            "ttl_s": round(deadline.at_s - now_s, 3),
            "stop": None if stop is None else {"after_s": round(stop.at_s - now_s, 3), "grace_s": stop.grace_s},
            "next_s": self._pause_s(folder, rank, now_s),
        }
        if ask.state is AgentState.WAITING:
            answer["start"] = {**record.env, "NORDAN_NODE_RANK": str(rank)}
        return answer

    def _note(self, folder: Path, rank: int, ask: Ask, now_s: float) -> None:
        key = (folder, rank)
        known = self._noted.get(key)
        if known is not None and (known.state, known.exit) == (ask.state, ask.exit) and now_s < known.at_s + NOTE_S:
            return
        record = AgentRecord(self.boot_id, now_s, ask.state, ask.exit)
        place = folder / f"rank-{rank}"
        place.mkdir(exist_ok=True, mode=0o700)
        write(place / AGENT, record)
        self._noted[key] = record

    def _pause_s(self, folder: Path, rank: int, now_s: float) -> float:
        self._asked_s[folder, rank] = now_s
        if now_s >= self._looked_s + SILENT_S:
            self._looked_s = now_s
            for key in [key for key, at_s in self._asked_s.items() if at_s < now_s - SILENT_S]:
                self._asked_s.pop(key, None)
                self._noted.pop(key, None)
        return min(MOST_PAUSE_S, max(LEAST_PAUSE_S, len(self._asked_s) / PODS_PER_S))
