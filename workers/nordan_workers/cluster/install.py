"""Put what was generated into a cluster, and tell what differs from it. Called by the commands; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nordan_core.domain.errors import OperatorError
from nordan_workers.cluster import marks
from nordan_workers.cluster.api import Answer, ClusterApi, apply, folder_of, merge, path_of, read, replace
from nordan_workers.cluster.cel import Object
from nordan_workers.cluster.differences import differences
from nordan_workers.cluster.facts import ClusterFacts
from nordan_workers.cluster.generate import objects
from nordan_workers.cluster.options import ANNOTATION
from nordan_workers.executors.kubernetes import names

#: Kinds without a namespace of which older installations may have left some.
_PRUNED = (
    "ValidatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ClusterRoleBinding",
    "ClusterRole",
)
_PRUNED_IN_JOBS = ("NetworkPolicy", "RoleBinding", "Role")
_OURS = ",".join(f"{key}={value}" for key, value in marks.INSTALLED.items())


class State(StrEnum):
    """How an object stands, or what became of it."""

    SAME = "as generated"
    MISSING = "missing"
    DIFFERS = "differs"
    FOREIGN = "not ours"
    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Line:
    """One object in a report."""

    kind: str
    name: str
    state: State
    fields: tuple[str, ...] = ()
    """Where it differs, or did."""

    @property
    def is_right(self) -> bool:
        """Tell whether nothing is left to do about it."""
        return self.state not in {State.MISSING, State.DIFFERS, State.FOREIGN}


def check(cluster: ClusterApi, facts: ClusterFacts) -> tuple[Line, ...]:
    """Return how every object stands, and what stands beside them that could open what they shut."""
    lines = [_checked(cluster, wanted) for wanted in objects(facts)]
    return (*lines, *_foreign(cluster, facts))


def install(cluster: ClusterApi, facts: ClusterFacts, wanted: tuple[Object, ...]) -> tuple[Line, ...]:
    """Make every object be as generated; what an older installation left goes last.

    Raises:
        OperatorError: the cluster refused one; those before it stand.
    """
    lines = [_installed(cluster, one) for one in wanted]
    return (*lines, *_pruned(cluster, facts, wanted))


def remove(cluster: ClusterApi, facts: ClusterFacts) -> tuple[Line, ...]:
    """Take away everything that was installed but the namespace of jobs: rights first, then what shuts."""
    namespace, *others = objects(facts)
    gone = [one for one in reversed(others) if cluster.send("DELETE", path_of(one)).is_good]
    merge(cluster, path_of(namespace), {"metadata": {"annotations": {ANNOTATION: None}}})
    return tuple(_line(one, State.REMOVED) for one in gone)


def _checked(cluster: ClusterApi, wanted: Object) -> Line:
    stands = read(cluster, wanted)
    if stands is None:
        return _line(wanted, State.MISSING)
    fields = differences(stands, _anew(cluster, wanted))
    return _line(wanted, State.DIFFERS if fields else State.SAME, fields)


def _installed(cluster: ClusterApi, wanted: Object) -> Line:
    stands = read(cluster, wanted)
    if stands is None:
        apply(cluster, wanted)
        return _line(wanted, State.CREATED)
    fields = differences(stands, _anew(cluster, wanted))
    if wanted["kind"] == "Namespace":
        apply(cluster, wanted)
    elif fields:
        # Replaced and not applied: applying keeps what somebody else added, and an added exclusion is a hole.
        replace(cluster, wanted, stands["metadata"]["resourceVersion"])
    return _line(wanted, State.CHANGED if fields else State.SAME, fields)


def _anew(cluster: ClusterApi, wanted: Object) -> Object:
    """Return what the server would make of the object if it were not there yet; nothing is stored."""
    if wanted["kind"] == "Namespace":
        return wanted
    twin = {**wanted, "metadata": {**wanted["metadata"], "name": f"{wanted['metadata']['name']}-anew"}}
    return apply(cluster, twin, is_dry=True)


def _foreign(cluster: ClusterApi, facts: ClusterFacts) -> Iterator[Line]:
    """Find what opens the namespace of jobs beside what we made: policies only add up, and so do rights."""
    for kind in ("NetworkPolicy", "RoleBinding"):
        for one in _items(cluster.send("GET", folder_of(kind, facts.jobs_namespace))):
            if names.LABEL_MANAGED_BY not in (one["metadata"].get("labels") or {}):
                yield _line({**one, "kind": kind}, State.FOREIGN)


def _pruned(cluster: ClusterApi, facts: ClusterFacts, wanted: tuple[Object, ...]) -> Iterator[Line]:
    kept = {path_of(one) for one in wanted}
    folders: Mapping[str, str] = {
        **{folder_of(kind): kind for kind in _PRUNED},
        **{folder_of(kind, facts.jobs_namespace): kind for kind in _PRUNED_IN_JOBS},
    }
    for folder, kind in folders.items():
        for one in _items(cluster.send("GET", folder, labelSelector=_OURS)):
            path = f"{folder}/{one['metadata']['name']}"
            if path not in kept and cluster.send("DELETE", path).is_good:
                yield _line({**one, "kind": kind}, State.REMOVED)


def _items(answer: Answer) -> list[Object]:
    if not answer.is_good:
        raise OperatorError(f"the cluster refused a list: {answer.message}")
    items: list[Object] = answer.body.get("items") or []
    return items


def _line(one: Object, state: State, fields: tuple[str, ...] = ()) -> Line:
    metadata = one["metadata"]
    namespace = metadata.get("namespace")
    return Line(str(one["kind"]), f"{namespace}/{metadata['name']}" if namespace else metadata["name"], state, fields)
