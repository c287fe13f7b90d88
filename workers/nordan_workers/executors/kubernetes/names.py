"""Names, labels and annotations of everything that Nordan makes in a cluster, in one place.

The executor writes them, the admission policies and the inventory read them, the sweeper trusts them. A change here is
a change of what is stored in running clusters.
"""

from __future__ import annotations

from nordan_core.domain.ids import AttemptId, is_id

PREFIX = "nordan.eu"
#: Labels of nodes: the API server lets no kubelet set a label whose prefix ends like this, not even on its own node.
NODE_PREFIX = "nordan.node-restriction.kubernetes.io"

LABEL_ATTEMPT = f"{PREFIX}/attempt"
LABEL_JOB = f"{PREFIX}/job"
LABEL_RANK = f"{PREFIX}/rank"
LABEL_REGION = f"{PREFIX}/region"
LABEL_POOL = f"{PREFIX}/pool"
LABEL_MANAGED_BY = f"{PREFIX}/managed-by"
MANAGED_BY = "supervisor"
#: What the executor made, and only that.
OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY}"

ANNOTATION_GRANT = f"{PREFIX}/grant"
"""The grant's id, not the signed token."""
ANNOTATION_FENCE = f"{PREFIX}/fence"
ANNOTATION_NODE = f"{PREFIX}/node"
"""The node that the grant names; a binding to another one is refused."""

NODE_TERRITORY = f"{NODE_PREFIX}/territory"
NODE_REGION = f"{NODE_PREFIX}/region"
NODE_POOL = f"{NODE_PREFIX}/pool"

TAINT_POOL = f"{PREFIX}/pool"
"""Value: the pool's name; effect NoSchedule. Only that pool's pods tolerate it."""
TAINT_UNVERIFIED = f"{PREFIX}/unverified"
"""Effect NoExecute; no pod of a job tolerates it."""

#: No scheduler has this name: the region's own account binds each pod to the node that the engine chose.
SCHEDULER = "nordan"

#: Containers of a job's pod, in the order in which they start.
STAGE = "stage"
AGENT = "agent"
JOB = "job"


def pod_name(attempt_id: AttemptId, rank: int) -> str:
    """Return the name of a rank's pod, which is a DNS label and also the pod's host name."""
    return f"{_label(attempt_id)}-{rank}"


def service_name(attempt_id: AttemptId) -> str:
    """Return the name of a gang's headless Service."""
    return _label(attempt_id)


def attempt_of(labels: dict[str, str]) -> AttemptId | None:
    """Return the attempt that an object says it belongs to; None when it names none in the right form."""
    text = labels.get(LABEL_ATTEMPT, "")
    return AttemptId(text) if is_id(text, "att") else None


def _label(attempt_id: AttemptId) -> str:
    # Names of objects know no underscore; label values do.
    return attempt_id.replace("_", "-").lower()
