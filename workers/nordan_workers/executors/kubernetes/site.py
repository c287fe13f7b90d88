"""What the parts of the executor share: the cluster, what it looks like now, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nordan_core.clock import Clock
from nordan_core.domain.ids import AttemptId
from nordan_workers.executors.kubernetes.binding import Binder
from nordan_workers.executors.kubernetes.manifests import PodSettings
from nordan_workers.executors.kubernetes.pods import Nodes, Pods, Sighting
from nordan_workers.executors.kubernetes.seats import Attempt, Seat
from nordan_workers.executors.kubernetes.status import Patience
from nordan_workers.faults import NO_FAULTS, Faults

#: After a deadline has passed on our clock, the helper in the pod has ended everything; its node's clock may run
#: slower, and it is asked to be on time, not to be fast.
BOUND_SLACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Site:
    """Shared, and not owned by any of them."""

    binder: Binder
    settings: PodSettings
    pods: Pods
    nodes: Nodes
    clock: Clock
    boot_id: str
    patience: Patience
    tell: Callable[[AttemptId], None]
    """Have whoever drives the executor look at an attempt."""
    attempts: dict[AttemptId, Attempt]
    """Those that were prepared and not forgotten; read it by copying."""
    faults: Faults = NO_FAULTS

    def sighting(self, seat: Seat) -> Sighting | None:
        """Return a rank's own pod as it was seen last."""
        sighting = self.pods.get(seat.pod)
        return sighting if sighting is not None and seat.is_own(sighting.view) else None

    def all_attempts(self) -> tuple[Attempt, ...]:
        """Return every attempt."""
        return tuple(self.attempts.values())
