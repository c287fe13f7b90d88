"""Submit many jobs in one request: each is accepted or refused by itself, the accepted ones are written together.

What a submission costs beside its judgement (the request, looking things up, the transaction) is paid once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.derogating import Derogating
from nordan_api.evidence import Evidence
from nordan_api.idempotency import IdempotencyKey
from nordan_api.jobs.service import (
    Accepted,
    Gathered,
    Prepared,
    audit_refusal,
    check_inputs,
    insert,
    judge_submission,
    known_answer,
)
from nordan_core.documents import parse_job
from nordan_core.domain.errors import Conflict, Invalid, NordanError, NotFound, Refused
from nordan_core.domain.tenants import Principal, Project
from nordan_core.facts import FactsBook
from nordan_core.store.idempotency import StoredAnswer
from nordan_core.store.unit_of_work import UnitOfWork

#: A request holds one of the api's few threads while it is at work.
MOST_JOBS = 200
Json = dict[str, Any]  # Any: JSON

Tell = Callable[[NordanError], Json]
"""Returns the problem document of an error that is one job's own."""

#: What is wrong with one job, and with none of the others.
_OWN = (Invalid, NotFound, Refused, Conflict)


def documents_of(body: Json) -> list[Json]:
    """Return the job documents of a request.

    Raises:
        Invalid: there are none, too many, or something that is no document.
    """
    if unknown := sorted(body.keys() - {"jobs"}):
        raise Invalid(unknown[0], "no such field; only jobs may be given")
    documents = body.get("jobs")
    if not isinstance(documents, list) or not 1 <= len(documents) <= MOST_JOBS:
        raise Invalid("jobs", f"give a list of 1 to {MOST_JOBS} job documents")
    for place, one in enumerate(documents):
        if not isinstance(one, dict):
            raise Invalid(f"jobs.{place}", "a job document is an object")
    return documents


def submit_all(
    context: Context,
    principal: Principal,
    project: str,
    documents: Sequence[Json],
    key: IdempotencyKey | None,
    *,
    tell: Tell,
) -> StoredAnswer:
    """Accept or refuse each job for good; each is one audit entry. Returns 200 with a result for each, in their order.

    Raises:
        NotFound: this caller has no such project.
    """
    now = context.clock.now()
    # 1. A repeated request gets the answer of the first, even if the world has changed since.
    if key is not None and (answer := known_answer(context, key)) is not None:
        return answer
    # 2. Check and judge each, no session open.
    found, facts = _prepare(context, principal, project, documents, now)
    evidence = Evidence(facts, now)
    decided = [_decide(context, principal, one, evidence, now) for one in found]
    evidence.record_first(context)
    # 3. Write those that are accepted.
    with context.store.begin() as work:
        if key is not None and (known := work.idempotency.claim(key.scope, key.request_digest, now)) is not None:
            return known
        decided = [_checked(work, one) for one in decided]
        if accepted := [one for one in decided if isinstance(one, Accepted)]:
            insert(work, accepted)
        answer = StoredAnswer(200, {"items": [_result(one, tell) for one in decided]}, None)
        if key is not None:
            work.idempotency.keep(key.scope, answer)
    return answer


def _prepare(
    context: Context, principal: Principal, project_name: str, documents: Sequence[Json], now: datetime
) -> tuple[list[Prepared | NordanError], FactsBook]:
    with context.store.look() as work:
        project = find_project(work, principal, project_name)
        derogating = Derogating(work, context.atlas, now)
        gathered = [_gather(work, project, one, derogating) for one in documents]
        # Last, so that the facts are not older than what was looked up.
        epoch = work.epoch.current()
    facts = context.facts(epoch)
    return [_put_together(one, facts) for one in gathered], facts


def _gather(work: UnitOfWork, project: Project, document: Json, derogating: Derogating) -> Gathered | NordanError:
    try:
        return Gathered.of(work, project, parse_job(document), derogating)
    except _OWN as fault:
        return fault


def _put_together(gathered: Gathered | NordanError, facts: FactsBook) -> Prepared | NordanError:
    if isinstance(gathered, NordanError):
        return gathered
    try:
        return gathered.prepared(facts)
    except _OWN as fault:
        return fault


def _decide(
    context: Context, principal: Principal, prepared: Prepared | NordanError, evidence: Evidence, now: datetime
) -> Accepted | NordanError:
    if isinstance(prepared, NordanError):
        return prepared
    try:
        of = judge_submission(prepared, now)
    except Refused as refused:
        audit_refusal(context, principal, prepared, refused, now)
        return refused
    except NotFound as missing:
        return missing
    return Accepted.of(prepared, principal, [evidence.anywhere(of, allowed=True)], now)


def _checked(work: UnitOfWork, decided: Accepted | NordanError) -> Accepted | NordanError:
    if isinstance(decided, NordanError):
        return decided
    try:
        check_inputs(work, decided.prepared)
    except Conflict as fault:
        return fault
    return decided


def _result(decided: Accepted | NordanError, tell: Tell) -> Json:
    if isinstance(decided, Accepted):
        return {"status": 202, "location": decided.location, "job": decided.line()}
    problem = tell(decided)
    return {"status": problem["status"], "problem": problem}
