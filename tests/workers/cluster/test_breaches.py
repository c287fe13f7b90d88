"""What counts as unlawful in a cluster, and whom it touches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nordan_core.domain.ids import AttemptId
from nordan_workers.cluster.breaches import Breach, Cause, NodeSeen, Place, PodSeen, Seat, Seats, breaches

PLACE = Place("fr-bru-1", "FR", "jobs", frozenset({"kube-system"}))
ATTEMPT = AttemptId("att_1")
OTHER = AttemptId("att_2")
_LABEL = "nordan.node-restriction.kubernetes.io/"
LABELS = {f"{_LABEL}territory": "FR", f"{_LABEL}region": "fr-bru-1", f"{_LABEL}pool": "h100"}
NODE = NodeSeen("n1", LABELS, frozenset({("nordan.eu/pool", "h100")}), had_taint=True)
MARKED = replace(NODE, taints=NODE.taints | {("nordan.eu/unverified", "")})
POD = PodSeen("jobs", "att-1-0", "uid", "n1", ATTEMPT, 0, has_gpus=True)
SEATS: Seats = {ATTEMPT: (Seat("h100", "n1"),), OTHER: (Seat("h100", "n2"),)}
MINE = frozenset({ATTEMPT})


def test_an_attempt_on_its_node_is_lawful() -> None:
    assert breaches(PLACE, [NODE], [POD], SEATS) == ()


@pytest.mark.parametrize(
    ("node", "cause"),
    [
        (replace(NODE, labels={**LABELS, f"{_LABEL}territory": "SE"}), Cause.NODE_LABELS),
        (replace(NODE, labels={**LABELS, f"{_LABEL}region": "se-lla-1"}), Cause.NODE_LABELS),
        (replace(NODE, labels={**LABELS, f"{_LABEL}pool": "l4"}), Cause.NODE_LABELS),
        (replace(NODE, labels={}), Cause.NODE_LABELS),
        (MARKED, Cause.NODE_UNVERIFIED),
        (replace(NODE, taints=frozenset()), Cause.POOL_TAINT),
        (replace(NODE, taints=frozenset({("nordan.eu/pool", "l4")})), Cause.POOL_TAINT),
    ],
)
def test_a_changed_node_touches_the_attempts_on_it_alone(node: NodeSeen, cause: Cause) -> None:
    assert breaches(PLACE, [node], [POD], SEATS) == (Breach(cause, "n1", MINE),)


def test_an_idle_node_that_says_another_territory_is_marked_once() -> None:
    moved = replace(NODE, labels={**LABELS, f"{_LABEL}territory": "SE"})
    assert breaches(PLACE, [moved], [], {}) == (Breach(Cause.NODE_LABELS, "n1"),)
    assert breaches(PLACE, [replace(moved, taints=MARKED.taints)], [], {}) == ()


def test_another_regions_nodes_and_pods_in_the_same_cluster_are_left_alone() -> None:
    theirs = NodeSeen("n9", {**LABELS, f"{_LABEL}region": "se-lla-1", f"{_LABEL}territory": "SE"}, NODE.taints)
    pod = replace(POD, namespace="jobs-se", attempt=AttemptId("att_9"), node="n9")
    assert breaches(PLACE, [theirs], [pod], SEATS) == ()


def test_nodes_of_no_pool_and_idle_marked_ones_are_left_alone() -> None:
    assert breaches(PLACE, [NodeSeen("system", {}, frozenset())], [], SEATS) == ()
    assert breaches(PLACE, [MARKED], [], {}) == ()


@pytest.mark.parametrize(
    ("pod", "breach"),
    [
        (replace(POD, attempt=None), Breach(Cause.FOREIGN_POD_AMONG_JOBS, "n1", MINE)),
        (replace(POD, rank=None), Breach(Cause.FOREIGN_POD_AMONG_JOBS, "n1", MINE)),
        (replace(POD, rank=7, name="att-1-7"), Breach(Cause.FOREIGN_POD_AMONG_JOBS, "n1", MINE)),
        (replace(POD, name="twin"), Breach(Cause.FOREIGN_POD_AMONG_JOBS, "n1", MINE)),
        (replace(POD, node="n2"), Breach(Cause.ANOTHER_NODE, "", MINE)),
        (
            replace(POD, namespace="tenant", attempt=None),
            Breach(Cause.FOREIGN_POD_WITH_GPUS, "n1", MINE),
        ),
    ],
)
def test_a_pod_made_around_us_is_a_breach(pod: PodSeen, breach: Breach) -> None:
    assert breaches(PLACE, [NODE], [pod], SEATS) == (replace(breach, pod=pod),)


@pytest.mark.parametrize(
    "pod",
    [
        replace(POD, attempt=None, is_over=True),
        replace(POD, attempt=AttemptId("att_9")),
        replace(POD, namespace="tenant", attempt=None, has_gpus=False),
        replace(POD, namespace="kube-system", attempt=None),
        replace(POD, namespace="tenant", attempt=None, node="elsewhere"),
        replace(POD, node=""),
    ],
)
def test_pods_that_end_wait_are_left_over_or_are_the_platforms_are_none(pod: PodSeen) -> None:
    assert breaches(PLACE, [NODE], [pod], SEATS) == ()


def test_a_node_that_never_had_its_pools_taint_does_without_it() -> None:
    assert breaches(PLACE, [replace(NODE, taints=frozenset(), had_taint=False)], [POD], SEATS) == ()


@pytest.mark.parametrize(
    "pod", [replace(POD, attempt=None, name="x"), replace(POD, namespace="tenant"), replace(POD, name="twin")]
)
def test_where_no_rules_are_installed_pods_of_others_are_lawful(pod: PodSeen) -> None:
    assert breaches(replace(PLACE, exempt=None), [NODE], [pod], SEATS) == ()


def test_an_attempts_pod_on_another_node_is_a_breach_with_or_without_rules() -> None:
    found = breaches(replace(PLACE, exempt=None), [NODE], [replace(POD, node="n2")], SEATS)
    assert [one.cause for one in found] == [Cause.ANOTHER_NODE]
