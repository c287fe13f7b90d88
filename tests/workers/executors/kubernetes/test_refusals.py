"""Which refusals of an API server are its last word: one that has just started refuses what it will soon allow."""

from __future__ import annotations

import pytest

from nordan_core.domain.reasons import Reason
from nordan_workers.executors.kubernetes.binding import Refused, refusal_of
from nordan_workers.executors.kubernetes.client import ClusterRefused, ClusterUnreachable

USER = "system:serviceaccount:nordan-region:nordan-region"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "Unauthorized"),
        (403, f'pods is forbidden: User "{USER}" cannot create resource "pods" in API group "" in the namespace "j"'),
        (403, 'pods "p" is forbidden: not yet ready to handle request'),
    ],
    ids=["accounts that are not known yet", "rights that are not known yet", "admission that is not ready yet"],
)
def test_a_server_that_has_just_started_is_asked_again(status: int, message: str) -> None:
    assert isinstance(refusal_of(ClusterRefused(status, "Forbidden", message)), ClusterUnreachable)


@pytest.mark.parametrize(
    ("status", "message", "cause"),
    [
        (403, 'pods "p" is forbidden: exceeded quota: q', Reason.NODE_CAPACITY_TAKEN),
        (403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest"', Reason.INTERNAL_ERROR),
        (403, "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no", Reason.REJECTED_BY_POLICY),
        (422, 'Pod "p" is invalid', Reason.INTERNAL_ERROR),
    ],
    ids=["quota", "pod security", "policy", "not an object"],
)
def test_a_judgement_is_the_last_word(status: int, message: str, cause: Reason) -> None:
    refused = refusal_of(ClusterRefused(status, "Forbidden", message))
    assert isinstance(refused, Refused)
    assert refused.trouble.cause is cause
