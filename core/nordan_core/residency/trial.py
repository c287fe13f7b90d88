"""A policy tried on a whole world at once: every pool's verdict, the control plane's, and why when none will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nordan_core.residency.explain import Never, explain_never
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_core.residency.judge import judge, judge_control_plane
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class PoolTrial:
    """One pool, and what the judge says of it."""

    facts: PoolFacts
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """What one effective policy allows in one world at one instant."""

    of: Effective
    instant: datetime
    pools: tuple[PoolTrial, ...]
    control_plane: tuple[ControlPlaneFacts, Verdict] | None
    """None where the world does not say where a control plane stands."""
    never: Never | None
    """Why no pool is allowed; None when one is."""

    @property
    def is_allowed(self) -> bool:
        """Return whether some pool is lawful, whatever the control plane may know."""
        return any(one.verdict.allowed for one in self.pools)


def try_policy(
    of: Effective, pools: Sequence[PoolFacts], cell: ControlPlaneFacts | None, atlas: Atlas, instant: datetime
) -> Trial:
    """Judge every pool, and the control plane where it is known."""
    tried = tuple(PoolTrial(facts, judge(of, facts, atlas, instant)) for facts in pools)
    described = None if cell is None else (cell, judge_control_plane(of, cell, atlas, instant))
    is_allowed = any(one.verdict.allowed for one in tried)
    return Trial(of, instant, tried, described, None if is_allowed else explain_never(of, pools, atlas, instant))
