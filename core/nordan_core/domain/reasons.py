"""The closed list of reasons: why a job waits, moved or ended. `docs/reference/reasons.md` explains each.

The order is the tier: of several reasons that hold, the earliest is the one shown first.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable code; texts beside it may change, codes never do."""

    RESIDENCY_UNSATISFIABLE = "residency_unsatisfiable"
    CONTROL_PLANE_OUTSIDE_DESCRIBE = "control_plane_outside_describe"
    REJECTED_BY_POLICY = "rejected_by_policy"
    DATA_NOT_IN_REGION = "data_not_in_region"
    QUOTA_EXCEEDED = "quota_exceeded"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PRICE_CAP = "price_cap"
    NO_CAPACITY = "no_capacity"
    GANG_INCOMPLETE = "gang_incomplete"
    TOPOLOGY_UNAVAILABLE = "topology_unavailable"
    WAITING_FOR_RESERVATION = "waiting_for_reservation"
    WAITING_FOR_PREEMPTION = "waiting_for_preemption"
    DEPENDENCY = "dependency"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    NODE_CAPACITY_TAKEN = "node_capacity_taken"
    IMAGE_PULL_FAILED = "image_pull_failed"
    OOM = "oom"
    CONTAINER_EXIT = "container_exit"
    MAX_DURATION = "max_duration"
    MAX_WAIT = "max_wait"
    DEADLINE_MISSED = "deadline_missed"
    IDLE = "idle"
    CANCELLED_BY_USER = "cancelled_by_user"
    FENCED = "fenced"
    GRANT_EXPIRED = "grant_expired"
    INTERNAL_ERROR = "internal_error"


#: What a job may name in `retry.on`: ends that another try can mend.
RETRYABLE = frozenset(
    {
        Reason.PREEMPTED,
        Reason.NODE_LOST,
        Reason.NODE_CAPACITY_TAKEN,
        Reason.IMAGE_PULL_FAILED,
        Reason.OOM,
        Reason.CONTAINER_EXIT,
        Reason.GRANT_EXPIRED,
        Reason.INTERNAL_ERROR,
    }
)

#: Retried when a job says nothing: losses that are the platform's doing, not the program's.
RETRIED_BY_DEFAULT = frozenset({Reason.PREEMPTED, Reason.NODE_LOST, Reason.NODE_CAPACITY_TAKEN, Reason.GRANT_EXPIRED})


def tier(reason: Reason) -> int:
    """Return the rank of a reason, 0 first."""
    return _TIERS[reason]


_TIERS = {reason: rank for rank, reason in enumerate(Reason)}
