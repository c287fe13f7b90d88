"""What an operator chose when a cluster's rules were installed, kept in the cluster, so that nobody types it twice.

The annotation stands on the namespace of jobs, where only who may change the policies can change it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nordan_core.domain.errors import Invalid, OperatorError
from nordan_workers.cluster import marks
from nordan_workers.cluster.api import ClusterApi
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.facts import JOBS_NAMESPACE, KUBE_SCHEDULER, REGION_NAMESPACE, ClusterFacts

ANNOTATION = f"{marks.OURS}installed-with"


@dataclass(frozen=True, slots=True)
class Options:
    """An operator's choices; None where nothing was chosen."""

    registries: tuple[str, ...] | None = None
    is_any_registry: bool | None = None
    region_namespace: str | None = None
    accounts: tuple[str, ...] | None = None
    schedulers: tuple[str, ...] | None = None
    exempt: tuple[str, ...] | None = None
    exposed: tuple[str, ...] | None = None

    def over(self, earlier: Options) -> Options:
        """Return these choices, with earlier ones where nothing was chosen now."""
        if self.registries is not None or self.is_any_registry is not None:
            earlier = replace(earlier, registries=None, is_any_registry=None)
        pairs = ((one.name, getattr(self, one.name), getattr(earlier, one.name)) for one in fields(self))
        return Options(**{name: now if now is not None else before for name, now, before in pairs})

    def facts(self, region: str, territory: str, pools: tuple[str, ...], jobs_namespace: str) -> ClusterFacts:
        """Return what the rules are made from.

        Raises:
            Invalid: a choice is missing or cannot be used.
        """
        if self.registries and self.is_any_registry:
            raise Invalid("registry", "--registry and --any-registry exclude each other")
        return ClusterFacts(
            region=region,
            territory=territory,
            pools=pools,
            registries=None if self.is_any_registry else self.registries or (),
            jobs_namespace=jobs_namespace,
            region_namespace=self.region_namespace or REGION_NAMESPACE,
            accounts=self.accounts or (),
            schedulers=self.schedulers or (KUBE_SCHEDULER,),
            exempt=self.exempt or (),
            exposed=self.exposed or (),
        )


def chosen_before(cluster: ClusterApi, jobs_namespace: str = JOBS_NAMESPACE) -> Options:
    """Return what a cluster was installed with; nothing chosen where it was not.

    Raises:
        OperatorError: the annotation is not ours.
    """
    answer = cluster.send("GET", f"/api/v1/namespaces/{jobs_namespace}")
    if not answer.is_good:
        if answer.status == 404:
            return Options()
        raise OperatorError(f"cannot read namespace {jobs_namespace}: {answer.message}")
    text = (answer.body["metadata"].get("annotations") or {}).get(ANNOTATION, "{}")
    try:
        found = json.loads(text)
        known = {one.name for one in fields(Options)}
        return Options(**{name: _frozen(value) for name, value in found.items() if name in known})
    except (ValueError, AttributeError) as error:
        raise OperatorError(f"{ANNOTATION} on namespace {jobs_namespace} cannot be read; install again") from error


def noted(wanted: tuple[Object, ...], options: Options) -> tuple[Object, ...]:
    """Return the objects, with the choices noted on the namespace, which comes first."""
    namespace, *others = wanted
    text = json.dumps({name: value for name, value in asdict(options).items() if value is not None})
    metadata = {**namespace["metadata"], "annotations": {ANNOTATION: text}}
    return ({**namespace, "metadata": metadata}, *others)


def _frozen(value: Any) -> Any:  # Any: JSON
    return tuple(value) if isinstance(value, list) else value
