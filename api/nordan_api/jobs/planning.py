"""`jobs:plan`: what would happen to a job now. The scheduler's read-only port computes it, with its own engine."""

from __future__ import annotations

from typing import Any

import httpx

from nordan_api.context import Context
from nordan_api.jobs.service import Prepared, judge_policy, prepare
from nordan_core.domain.errors import Refused, Unavailable
from nordan_core.domain.tenants import Principal
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.widening import derogated
from nordan_core.settings import read_secret
from nordan_core.store.codec import spec_document

Json = dict[str, Any]  # Any: JSON
_TIMEOUT_S = 5.0


def plan(context: Context, principal: Principal, project: str, document: Json) -> Json:
    """Return the answer for every pool, and why the job would be refused at submission if it would.

    Raises:
        Unavailable: no scheduler answers.
    """
    now = context.clock.now()
    prepared = prepare(context, principal, project, document, with_files=False)
    answer = _ask(context, prepared)
    try:
        judge_policy(prepared, now)
    except Refused as refused:
        never = {"code": refused.reason.value, "message": refused.message, **refused.detail}
        return {**answer, "startable": False, "never": never}
    return {**answer, "never": None}


def _ask(context: Context, prepared: Prepared) -> Json:
    question = {
        "spec": spec_document(prepared.spec),
        "effective": effective_document(derogated(prepared.effective, prepared.covered)),
        "organisation": prepared.project.organisation,
        "inputs": [{"name": one.name, "regions": list(one.artifact.regions)} for one in prepared.inputs],
    }
    secret_file = context.settings.scheduler_secret_file
    headers = {"Authorization": f"Bearer {read_secret(secret_file)}"} if secret_file is not None else {}
    for url in filter(None, context.settings.scheduler_urls.split(",")):
        try:
            # A proxy of the environment must not see what is asked.
            response = httpx.post(
                f"{url.strip()}/plan", json=question, headers=headers, timeout=_TIMEOUT_S, trust_env=False
            )
            response.raise_for_status()
        except httpx.HTTPError:
            continue
        answer: Json = response.json()
        return answer
    raise Unavailable("no scheduler answers; the job can still be submitted", 2.0)
