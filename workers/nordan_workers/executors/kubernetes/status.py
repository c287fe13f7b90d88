"""From a pod's object to where its rank stands: pure, so that every cause is a row of a table.

The kubelet and the controllers write a pod's status in words that are meant for people and differ between versions;
here they become the closed list of reasons. `view_of` reads one object; `trouble_of` says whether a rank that has not
ended should be given up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nordan_core.domain.ids import AttemptId
from nordan_core.domain.reasons import Reason
from nordan_core.wire import ExitReport
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.client import Object

#: The kubelet had no room for the pod, or found it unfit for the node.
_NO_ROOM = frozenset({"UnexpectedAdmissionError", "NodeAffinity", "NodeName", "NodePorts", "TopologyAffinityError"})
_NO_ROOM_PREFIX = "OutOf"
#: The node stopped it: pressure, shutdown, loss.
_NODE = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting", "NodeAdmissionError"})
#: The image will not come, however long one waits.
_NO_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_OOM = "OOMKilled"
_SIGNAL_BASE = 128
_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a rank may take before it is given up, in seconds since its launch."""

    start_s: float = 60.0
    """Until its kubelet has taken the pod; then the node's capacity is taken by something else."""
    images_s: float = 900.0
    """Until its images are there; staging is not counted, which may take as long as the grant lives."""
    node_away_s: float = 10.0
    """Since the API server has not heard of the node, which it says after about a minute."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pod's end reads. Numbers are the helper's where its record is there and can be believed."""

    report: ExitReport
    duration_s: float | None = None
    """Of the program; None without the helper's record."""
    cause: Reason | None = None
    message: str = ""

    @property
    def is_success(self) -> bool:
        """Tell whether the program ended well."""
        return self.cause is None and self.report.exit_code == 0


@dataclass(frozen=True, slots=True)
class PodView:
    """What matters of one pod's object."""

    name: str
    uid: str
    labels: Mapping[str, str]
    attempt_id: AttemptId | None
    rank: int
    node: str = ""
    """Empty until it is bound."""
    ip: str = ""
    is_admitted: bool = False
    """Its kubelet has taken it."""
    is_running: bool = False
    """The job's container runs."""
    is_deleting: bool = False
    is_gone: bool = False
    """The object is no longer there."""
    waits_for: str = ""
    """Why the kubelet says that a container waits."""
    is_staged: bool = False
    """The containers before the job's have begun, so their images were there."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None

    @property
    def has_started(self) -> bool:
        """Tell whether the job's container ever ran, as far as the object tells."""
        return self.is_running or self.started_at is not None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a rank is given up."""

    cause: Reason
    message: str


def view_of(pod: Object) -> PodView:
    """Read a pod's object; what is missing or odd in it counts as not there."""
    about, spec, status = (pod.get(part) or {} for part in ("metadata", "spec", "status"))
    labels = {str(name): str(value) for name, value in (about.get("labels") or {}).items()}
    rank = _rank(labels)
    job = _container(status.get("containerStatuses"), names.JOB)
    state = job.get("state") or {}
    running, terminated = state.get("running"), state.get("terminated")
    phase = str(status.get("phase") or "")
    return PodView(
        name=str(about.get("name") or ""),
        uid=str(about.get("uid") or ""),
        labels=labels,
        attempt_id=names.attempt_of(labels) if labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY else None,
        rank=rank,
        node=str(spec.get("nodeName") or ""),
        ip=str(status.get("podIP") or ""),
        is_admitted=bool(status.get("startTime")) or phase not in {"", "Pending"},
        # A node without a kubelet of flesh tells the phase alone.
        is_running=running is not None or (phase == "Running" and not state),
        is_deleting=bool(about.get("deletionTimestamp")),
        waits_for=_waiting_reason(status),
        is_staged=any(_has_begun(one) for one in status.get("initContainerStatuses") or ()),
        started_at=_instant((running or terminated or {}).get("startedAt")),
        ended_at=_instant((terminated or {}).get("finishedAt")),
        outcome=_outcome(rank, phase, status, terminated),
    )


def trouble_of(view: PodView | None, waited_s: float, patience: Patience) -> Trouble | None:
    """Return why a launched rank that has not started should be given up; None: wait on."""
    if view is not None and (view.has_started or view.outcome is not None or view.is_gone):
        return None
    if view is not None and view.waits_for in _NO_IMAGE:
        return Trouble(Reason.IMAGE_PULL_FAILED, f"an image cannot be had: the node says {view.waits_for}")
    if (view is None or not view.is_admitted) and waited_s > patience.start_s:
        said = "no pod could be made" if view is None else "the node has not taken the pod"
        return Trouble(Reason.NODE_CAPACITY_TAKEN, f"{said} within {patience.start_s:.0f} s")
    if view is not None and not view.is_staged and waited_s > patience.images_s:
        return Trouble(Reason.IMAGE_PULL_FAILED, f"the images were not on the node within {patience.images_s:.0f} s")
    return None


def report_of(text: str, rank: int) -> tuple[ExitReport, float | None] | None:
    """Return the helper's exit record and the program's seconds, None if it never began; None for anything else.

    The job can write to the same file, so nothing here is taken on trust.
    """
    try:
        record = json.loads(text)
        has_begun = record["started_at_s"] is not None
        timed = ("user_s", "system_s", "ended_at_s", *(("started_at_s",) if has_begun else ()))
        seconds = [float(record[name]) for name in timed]
        if not all(math.isfinite(one) and 0 <= one <= _LONGEST_S for one in seconds):
            return None
        report = ExitReport(
            rank=rank,
            exit_code=record["exit_code"],
            signal=record["signal"],
            user_s=seconds[0],
            system_s=seconds[1],
            max_rss_kib=record["max_rss_kib"],
            oom=record.get("oom", False),
            at_deadline=record["at_deadline"],
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return report, max(0.0, seconds[2] - seconds[3]) if has_begun else None


def _outcome(rank: int, phase: str, status: Object, terminated: Object | None) -> Outcome | None:
    if terminated is not None:
        outcome = _of_container(rank, terminated)
        stopped_by_node = _of_node(status)
        if stopped_by_node is not None and not outcome.is_success:
            return Outcome(outcome.report, outcome.duration_s, *stopped_by_node)
        return outcome
    if phase == "Succeeded":
        return Outcome(ExitReport(rank=rank, exit_code=0, signal=None))
    if phase == "Failed":
        cause, message = _of_node(status) or _of_stage(status)
        return Outcome(ExitReport(rank=rank, exit_code=None, signal=None), None, cause, message)
    return None


def _of_container(rank: int, terminated: Object) -> Outcome:
    code = _number(terminated.get("exitCode"))
    found = report_of(str(terminated.get("message") or ""), rank)
    is_recorded = found is not None and _agree(found[0], code)
    report, duration_s = found if found is not None and is_recorded else (_bare(rank, code), None)
    if (terminated.get("reason") == _OOM or report.oom) and report.exit_code != 0:
        report = report.model_copy(update={"oom": True})
        return Outcome(report, duration_s, Reason.OOM, f"rank {rank} used more memory than the job asked for")
    if is_recorded and duration_s is None and not report.at_deadline:
        said = "the pod's agent never gave the word to start: it did not reach the region's gateway"
        return Outcome(report, None, Reason.INTERNAL_ERROR, said)
    return Outcome(report, duration_s)


def _agree(report: ExitReport, code: int) -> bool:
    """Tell whether the record says what the container's own exit code says."""
    return code == (report.exit_code if report.exit_code is not None else _SIGNAL_BASE + (report.signal or 0))


def _bare(rank: int, code: int) -> ExitReport:
    """Return what an exit code alone tells: above 128 it was a signal, by the shells' custom."""
    if _SIGNAL_BASE < code <= _SIGNAL_BASE + 64:
        return ExitReport(rank=rank, exit_code=None, signal=code - _SIGNAL_BASE)
    return ExitReport(rank=rank, exit_code=code, signal=None)


def _of_node(status: Object) -> tuple[Reason, str] | None:
    """Return what a node or a controller had against the pod, if one had."""
    reason = str(status.get("reason") or "")
    if reason in _NO_ROOM or reason.startswith(_NO_ROOM_PREFIX):
        return Reason.NODE_CAPACITY_TAKEN, f"the node refused the pod: {reason}"
    if reason in _NODE:
        return Reason.NODE_LOST, f"the node gave the pod up: {reason}"
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return Reason.NODE_LOST, f"the pod was taken from its node: {condition.get('reason') or 'no reason given'}"
    return None


def _of_stage(status: Object) -> tuple[Reason, str]:
    stage = _container(status.get("initContainerStatuses"), names.STAGE)
    ended = (stage.get("state") or {}).get("terminated")
    if ended is not None and ended.get("exitCode"):
        return Reason.INTERNAL_ERROR, f"staging in the pod failed with code {_number(ended.get('exitCode'))}"
    return Reason.NODE_LOST, f"the pod failed: {status.get('reason') or 'no reason given'}"


def _waiting_reason(status: Object) -> str:
    for group in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(group) or ():
            reason = ((one.get("state") or {}).get("waiting") or {}).get("reason")
            if reason in _NO_IMAGE:
                return str(reason)
    return ""


def _container(statuses: Iterable[Object] | None, name: str) -> Object:
    return next((one for one in statuses or () if one.get("name") == name), {})


def _has_begun(container: Object) -> bool:
    state = container.get("state") or {}
    return "running" in state or "terminated" in state


def _rank(labels: Mapping[str, str]) -> int:
    text = labels.get(names.LABEL_RANK, "")
    return int(text) if text.isdecimal() else -1


def _number(value: Any) -> int:  # Any: JSON
    return value if isinstance(value, int) else -1


def _instant(text: Any) -> datetime | None:  # Any: JSON
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
