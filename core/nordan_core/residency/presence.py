"""May what is there stay there: an attempt on its pool, bytes in their region, under everything that binds them today.

Asked by the api at redeem, at renewal and before each read, and by the scheduler whenever law or facts have moved; the
same words for all, so that whoever finds out first says what the others would.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.judge import judge, judge_control_plane, judge_storage
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import FacetRefusal, Verdict, together

UNREADABLE = FacetRefusal(
    "policy",
    "a policy that this version can read",
    "unreadable",
    "the policy or a floor above it cannot be read by this version, and what is unknown is denied",
)


def may_run(
    policies: Sequence[Effective], facts: PoolFacts | None, control_plane: ControlPlaneFacts, atlas: Atlas, at: datetime
) -> Verdict:
    """Return whether an attempt may go on in a pool: every policy has to allow it, and this control plane to know it.

    No policies stands for policies that cannot be read; no facts, for a pool that is not registered any more.
    """
    if not policies:
        return Verdict((UNREADABLE,), None)
    if facts is None:
        return Verdict((_gone("the pool"),), None)
    verdicts = [judge(of, facts, atlas, at) for of in policies]
    verdicts += [judge_control_plane(of, control_plane, atlas, at) for of in policies]
    return together(verdicts)


def may_rest(policies: Sequence[Effective], pools: Sequence[PoolFacts], atlas: Atlas, at: datetime) -> Verdict:
    """Return whether bytes may stay in the region of these pools: for every policy, the facts of one must allow it."""
    if not policies:
        return Verdict((UNREADABLE,), None)
    if not pools:
        return Verdict((_gone("the region's pools"),), None)
    return together([_somewhere(of, pools, atlas, at) for of in policies])


def _somewhere(of: Effective, pools: Sequence[PoolFacts], atlas: Atlas, at: datetime) -> Verdict:
    verdicts = [judge_storage(of, pool, atlas, at) for pool in pools]
    refusals = () if any(verdict.allowed for verdict in verdicts) else verdicts[0].refusals
    return Verdict(refusals, together(verdicts).good_until)


def _gone(what: str) -> FacetRefusal:
    return FacetRefusal("facts", f"facts about {what}", "none", f"{what} is not registered any more")
