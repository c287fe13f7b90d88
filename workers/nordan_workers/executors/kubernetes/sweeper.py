"""Removes what carries our label and belongs to no attempt, and reports what it cannot explain, which it leaves alone.

A pod may be left when a region's folder was lost, or a request was carried out after its sender had given up. What
somebody else has put into the namespace is not ours to delete, but it runs where our jobs' data is.
"""

from __future__ import annotations

import structlog

from nordan_core.domain.errors import NordanError
from nordan_workers.executors.kubernetes import names
from nordan_workers.executors.kubernetes.errands import LEAST_GRACE_S, Errands
from nordan_workers.executors.kubernetes.site import Site
from nordan_workers.executors.kubernetes.status import PodView

log = structlog.get_logger()


class Sweeper:
    """Called every now and then by one thread."""

    def __init__(self, site: Site, errands: Errands) -> None:
        self._site = site
        self._errands = errands
        self._reported: set[str] = set()
        self.removed = 0
        """Pods and Services that were removed since the start."""
        self.unexplained = 0
        """Pods that were there at the last look and that nobody can explain."""

    def sweep(self) -> None:
        """Look at everything once."""
        if not self._site.pods.is_listed.is_set():
            return
        self._site.pods.drop_gone(lambda view: view.attempt_id in self._site.attempts)
        strangers = [view for view in self._site.pods.all() if not self._is_explained(view)]
        self.unexplained = len(strangers)
        self._report(strangers)
        try:
            self._sweep_services()
        except NordanError as error:
            log.warning("services_not_swept", error=type(error).__name__)

    def _is_explained(self, view: PodView) -> bool:
        if view.attempt_id is None:
            return False
        if view.labels.get(names.LABEL_REGION) != self._site.settings.region:
            # Another region's supervisor shares the namespace and sweeps after itself.
            return True
        attempt = self._site.attempts.get(view.attempt_id)
        if attempt is None:
            if not self._errands.is_leaving(view.name) and not view.is_deleting:
                log.warning("orphan_removed", pod=view.name, attempt_id=view.attempt_id)
                self.removed += 1
                self._errands.remove(view.name, view.uid, LEAST_GRACE_S)
            return True
        return any(seat.pod == view.name and seat.rank == view.rank for seat in attempt.seats)

    def _report(self, strangers: list[PodView]) -> None:
        for view in strangers:
            if view.uid not in self._reported:
                log.warning("pod_unexplained", pod=view.name, node=view.node)
        self._reported = {view.uid for view in strangers}
        if strangers:
            log.warning("pods_unexplained", count=len(strangers))

    def _sweep_services(self) -> None:
        binder = self._site.binder
        selector = f"{names.OURS},{names.LABEL_REGION}={self._site.settings.region}"
        for service in binder.cluster.get(binder.services(), labelSelector=selector).get("items") or ():
            about = service["metadata"]
            if names.attempt_of(about.get("labels") or {}) not in self._site.attempts:
                self.removed += 1
                log.info("service_removed", service=about["name"])
                binder.delete_service(about["name"])
