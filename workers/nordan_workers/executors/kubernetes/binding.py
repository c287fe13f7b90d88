"""Makes a rank's pod, binds it to the node that the engine chose, deletes it. Every act may be repeated.

`pods/binding` by the region's own account instead of a scheduler: the engine has decided already, and its books say
that the node has room. The kubelet has the last word and refuses a pod that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from nordan_core.domain.reasons import Reason
from nordan_core.wire import LaunchOrder, RankOrder
from nordan_workers.executors.kubernetes import manifests, names
from nordan_workers.executors.kubernetes.client import Cluster, ClusterRefused, ClusterUnreachable, Object
from nordan_workers.executors.kubernetes.manifests import PodSettings, PodTicket
from nordan_workers.executors.kubernetes.status import Trouble

#: How the API server's text of a refusal by an admission policy goes on with the policy's own message.
_DENIED = "denied request: "
_LONGEST = 300
_UNAUTHENTICATED, _FORBIDDEN = 401, 403
#: What the authorizer and the admission plugins say, where an admission policy would name itself.
_NOT_YET = ('is forbidden: User "', "not yet ready to handle request")


class Refused(Exception):
    """The cluster will not have the pod; `trouble` says so to the attempt's owner."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.cause)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Binder:
    """The acts on one namespace."""

    cluster: Cluster
    settings: PodSettings

    def create(self, order: LaunchOrder, rank: RankOrder, ticket: PodTicket) -> Object:
        """Make the pod, or find the one that an earlier try has made, and return it.

        Raises:
            Refused: the cluster will never take it.
            ClusterUnreachable: try again.
        """
        pod = manifests.pod(order, rank, self.settings, ticket)
        try:
            return self.cluster.post(self._pods(), pod)
        except ClusterRefused as error:
            if not error.is_conflict:
                raise refusal_of(error) from error
        return self._found(pod)

    def bind(self, name: str, node: str) -> bool:
        """Bind the pod; False when there is no such pod any more.

        Raises:
            Refused: it is bound elsewhere, or the cluster does not allow it.
            ClusterUnreachable: try again.
        """
        try:
            self.cluster.post(f"{self._pods()}/{name}/binding", manifests.binding(name, node, self.settings))
        except ClusterRefused as error:
            if error.is_missing:
                return False
            if not error.is_conflict:
                raise refusal_of(error) from error
            return self._is_bound(name, node)
        return True

    def delete(self, name: str, *, grace_s: int, uid: str | None) -> bool:
        """Delete the pod, if it is still this one; False when it was not there.

        Raises:
            ClusterRefused, ClusterUnreachable: it may still be there.
        """
        try:
            self.cluster.delete(f"{self._pods()}/{name}", grace_s=grace_s, uid=uid)
        except ClusterRefused as error:
            if error.is_missing or error.is_conflict:
                return False
            raise
        return True

    def create_service(self, order: LaunchOrder) -> None:
        """Make the gang's Service and the way between its ranks, if it is a gang and has none.

        Raises:
            Refused: the cluster will not have one of them.
            ClusterUnreachable: try again.
        """
        service = manifests.service(order, self.settings)
        if service is None:
            return
        made = self._made(self.services(), service)
        policies = f"/apis/networking.k8s.io/v1/namespaces/{self.settings.namespace}/networkpolicies"
        self._made(policies, manifests.network_policy(order, self.settings, made["metadata"]["uid"]))

    def delete_service(self, name: str) -> None:
        """Delete a Service, if it is there."""
        try:
            self.cluster.delete(f"{self.services()}/{name}", grace_s=0)
        except ClusterRefused as error:
            if not error.is_missing:
                raise

    def services(self) -> str:
        """Return the path of the namespace's Services."""
        return f"/api/v1/namespaces/{self.settings.namespace}/services"

    def _made(self, folder: str, wanted: Object) -> Object:
        """Create an object, or return the one that an earlier try has created."""
        try:
            return self.cluster.post(folder, wanted)
        except ClusterRefused as error:
            if not error.is_conflict:
                raise refusal_of(error) from error
        try:
            return self.cluster.get(f"{folder}/{wanted['metadata']['name']}")
        except ClusterRefused as error:
            raise refusal_of(error) from error

    def _found(self, wanted: Object) -> Object:
        """Return the pod that has the name already, if it is the same attempt's."""
        name, labels = wanted["metadata"]["name"], wanted["metadata"]["labels"]
        try:
            there = self.cluster.get(f"{self._pods()}/{name}")
        except ClusterRefused as error:
            # Gone between the two questions: the next try makes it.
            raise refusal_of(error) from error
        found = there["metadata"].get("labels") or {}
        if any(
            found.get(key) != labels[key] for key in (names.LABEL_ATTEMPT, names.LABEL_RANK, names.LABEL_MANAGED_BY)
        ):
            raise Refused(Trouble(Reason.INTERNAL_ERROR, "something else in the cluster has the pod's name"))
        return there

    def _is_bound(self, name: str, node: str) -> bool:
        try:
            there = self.cluster.get(f"{self._pods()}/{name}")
        except ClusterRefused as error:
            if error.is_missing:
                return False
            raise refusal_of(error) from error
        if there["metadata"].get("deletionTimestamp"):
            return False
        if (there.get("spec") or {}).get("nodeName") != node:
            raise Refused(Trouble(Reason.NODE_CAPACITY_TAKEN, "somebody else has bound the pod to another node"))
        return True

    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.settings.namespace}/pods"


def refusal_of(error: ClusterRefused) -> Refused | ClusterUnreachable:
    """Return what to raise for a refusal: the cluster's last word, or that it is worth another try.

    An API server that has just started does not know yet who is who and who may do what, and refuses everybody for some
    seconds. An account that truly lacks the right is found out by the patience that every start has.
    """
    is_unknown = error.status == _UNAUTHENTICATED
    if is_unknown or (error.status == _FORBIDDEN and any(words in error.message for words in _NOT_YET)):
        return ClusterUnreachable(f"{error.status} {error.reason}")
    return Refused(trouble_of_refusal(error))


def trouble_of_refusal(error: ClusterRefused) -> Trouble:
    """Return what a refusal means to the attempt."""
    if _DENIED in error.message:
        said = error.message.split(_DENIED, 1)[1][:_LONGEST]
        return Trouble(Reason.REJECTED_BY_POLICY, f"the cluster's policy refused it: {said}")
    if "exceeded quota" in error.message:
        return Trouble(Reason.NODE_CAPACITY_TAKEN, "the quota of the cluster's namespace is used up")
    return Trouble(Reason.INTERNAL_ERROR, f"the cluster refused it: {error.status} {error.reason}")
