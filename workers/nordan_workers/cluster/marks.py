"""Groups of the names that Nordan gives to things in a cluster, as the rules speak of them, and enforcement's own."""

from __future__ import annotations

from nordan_workers.executors.kubernetes import names

OURS = f"{names.PREFIX}/"
"""Labels, annotations and taints under it are Nordan's."""
OF_NODES = f"{names.NODE_PREFIX}/"
NODE_LABELS = (names.NODE_TERRITORY, names.NODE_REGION, names.NODE_POOL)

TERRITORY = f"{names.PREFIX}/territory"
"""Label of a namespace: the territory that its pods must ask for."""
INSTALLED = {names.LABEL_MANAGED_BY: "install"}
"""Whoever bears it was made by `nordan admin cluster install` and goes when it is removed."""
JOB_LABELS = (
    names.LABEL_ATTEMPT,
    names.LABEL_JOB,
    names.LABEL_RANK,
    names.LABEL_REGION,
    names.LABEL_POOL,
    names.LABEL_MANAGED_BY,
)
GRANT_ANNOTATIONS = (names.ANNOTATION_GRANT, names.ANNOTATION_FENCE, names.ANNOTATION_NODE)
FIELD_MANAGER = "nordan"
