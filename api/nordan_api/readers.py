"""Readers of logs, artifacts and services are judged by the territory recorded with their key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from nordan_api.context import Context
from nordan_api.evidence import Evidence
from nordan_api.resting import documents, rest, sentence
from nordan_core.domain.errors import Refused
from nordan_core.domain.reasons import Reason
from nordan_core.domain.tenants import Principal
from nordan_core.residency.judge import judge_reader
from nordan_core.residency.layers import Effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.verdicts import together
from nordan_core.store.audit import Act, AuditEntry


def check_place(context: Context, policies: Sequence[Effective], region: str) -> datetime | None:
    """Refuse to show anybody to bytes whose place became unlawful; they stay where they are.

    Returns the instant at which that may be so by itself.

    Raises:
        Refused: `fenced`, with what is no longer as the policy wants it.
    """
    with context.store.begin() as work:
        epoch = work.epoch.current()
    verdict = rest(context.facts(epoch), policies, region, context.clock.now())
    if not verdict.allowed:
        raise Refused(Reason.FENCED, sentence(region, verdict.refusals), {"refusals": documents(verdict.refusals)})
    return verdict.good_until


def check_reader(
    context: Context, principal: Principal, policies: Iterable[Effective], *, subject: str
) -> datetime | None:
    """Refuse a reader who sits where a policy's `access` does not allow; either way is one audit entry.

    Returns the instant at which that may be so by itself.

    Raises:
        Refused: `rejected_by_policy`, with the territories that may read.
    """
    now, policies = context.clock.now(), tuple(policies)
    with context.store.look() as work:
        epoch = work.epoch.current()
    facts = context.facts(epoch)
    refusal = why_not_to(facts.atlas, principal, policies, now)
    act = Act.READ_REFUSED if refusal else Act.READ_ALLOWED
    evidence = Evidence(facts, now)
    body: dict[str, object] = {"judged": [evidence.read(policies, principal.territory, allowed=refusal is None)]}
    evidence.record_first(context)
    with context.store.begin() as work:
        work.audit.write(AuditEntry(act, subject, principal.key, now, principal.organisation, body))
    if refusal:
        raise refusal
    return together(judge_reader(of, principal.territory, facts.atlas, now) for of in policies).good_until


def why_not_to(atlas: Atlas, principal: Principal, policies: Iterable[Effective], now: datetime) -> Refused | None:
    """Return why somebody who sits where this principal does may not see the data; None when every policy allows it."""
    verdicts = [judge_reader(of, principal.territory, atlas, now) for of in policies]
    refusals = [refusal for verdict in verdicts for refusal in verdict.refusals]
    if not refusals:
        return None
    first = refusals[0]
    detail = {"facet": first.facet, "want": first.want, "have": first.have}
    return Refused(Reason.REJECTED_BY_POLICY, first.message, detail)
