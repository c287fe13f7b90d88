"""What the rules of a cluster are made from: a value, checked once, from which everything installed follows.

Filled by `nordan admin cluster install` from the control plane's facts and the operator's options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nordan_core.domain.errors import Invalid

JOBS_NAMESPACE = "nordan-jobs"
REGION_NAMESPACE = "nordan-region"
#: Namespaces that every cluster needs before any rule of ours can be met: system pods carry no territory.
SYSTEM_NAMESPACES = ("kube-system", "kube-node-lease", "kube-public")
KUBE_SCHEDULER = "system:kube-scheduler"

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9._-]+)*/")
_TERRITORY = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One region and the cluster that serves it.

    Raises:
        Invalid: a value that a rule could not be made from; names the option.
    """

    region: str
    territory: str
    pools: tuple[str, ...]
    registries: tuple[str, ...] | None
    """Beginnings of image names, each up to and with a slash; None: any image, a gap that `check` shows."""
    jobs_namespace: str = JOBS_NAMESPACE
    region_namespace: str = REGION_NAMESPACE
    accounts: tuple[str, ...] = ()
    """User names of the region's own parts; empty: the service account `nordan-region` of the region's namespace."""
    schedulers: tuple[str, ...] = (KUBE_SCHEDULER,)
    """Who binds pods outside the jobs' namespace."""
    exempt: tuple[str, ...] = ()
    """Further namespaces where no rule holds, by name: the operator's own platform."""
    exposed: tuple[str, ...] = ()
    """NAMESPACE/NAME of Services and Ingresses that may be reached from outside the cluster."""

    def __post_init__(self) -> None:
        for name in (self.jobs_namespace, self.region_namespace, *self.exempt):
            _check("namespace", name, _NAMESPACE, "lower case letters, digits and dashes")
        _check("territory", self.territory, _TERRITORY, "FR or ES-CN")
        for name in (self.region, *self.pools):
            _check("region or pool", name, _LABEL_VALUE, "what a label's value may be")
        for registry in self.registries or ():
            _check("registry", registry, _REGISTRY, "registry.example/ or registry.example/team/, with the last slash")
        if self.registries == ():
            raise Invalid("registry", "name the registries that images may come from, or say --any-registry")
        if self.jobs_namespace in self.exempted:
            raise Invalid("exempt", f"{self.jobs_namespace} holds the jobs: no rule can be left out there")
        for one in self.exposed:
            if one.count("/") != 1:
                raise Invalid("expose", f"{one!r} is not NAMESPACE/NAME")

    @property
    def exempted(self) -> tuple[str, ...]:
        """Return the namespaces where pods and Services are not judged, in a fixed order."""
        return (*SYSTEM_NAMESPACES, self.region_namespace, *sorted(set(self.exempt)))

    @property
    def region_accounts(self) -> tuple[str, ...]:
        """Return the user names of the region's own parts."""
        return self.accounts or (f"system:serviceaccount:{self.region_namespace}:nordan-region",)


def _check(what: str, value: str, form: re.Pattern[str], right: str) -> None:
    if not form.fullmatch(value):
        raise Invalid(what.split(maxsplit=1)[0], f"{value!r} is not a {what}; right is {right}")
