"""`nordan retry`, and how `nordan get` explains a job that became unlawful: which facet, what was found, who helps."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import references, render
from nordan_cli.client import connect
from nordan_cli.decode import decode
from nordan_cli.models import Fence, Job
from nordan_cli.options import Project
from nordan_cli.render import Format, Output
from nordan_cli.text import plain
from nordan_core.domain.states import JobState


def retry(
    ctx: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, ends of ids, or names.")],
    *,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Go on with a fenced job in another attempt.

    It is judged like the first: it starts where its policy allows, from its newest checkpoint that may be read there.
    """
    with connect(ctx, project) as api:
        identities = [references.job_id(api, job) for job in jobs]
        answers = [api.post(api.within("jobs", identity, verb="retry"), {}) for identity in identities]
    found = [decode(Job, answer) for answer in answers]
    shown = answers[0] if len(answers) == 1 else {"items": answers}
    render.show(shown, output, lambda: "\n".join(f"{job.id} {job.state}" for job in found))


def explain(job: Job) -> str:
    """Return what became unlawful, as a table, and what the owner can do; nothing for a job that is not fenced."""
    fence = job.fence
    if fence is None:
        return ""
    titles = ("facet", "wanted", "found", "meaning")
    table = render.table(titles, ((one.facet, one.want, one.have, one.message) for one in fence.refusals))
    return "\n".join([table, "", *_choices(job, fence)])


def _choices(job: Job, fence: Fence) -> list[str]:
    where = f"attempt {fence.attempt} in {fence.pool} ({fence.region})"
    if job.state != JobState.FENCED:
        return [f"{where} is being stopped; its data stay in {fence.region}"]
    stated = {one.facet: plain(job.policy.stated_by.get(one.facet)) for one in fence.refusals}
    by = "; ".join(f"{facet} is stated by {who}" for facet, who in stated.items() if who)
    return [
        f"{where} was stopped; its data stay in {fence.region}, and nothing is moved",
        f"nordan retry {job.id}   another attempt, judged anew: it starts where the policy allows",
        f"nordan cancel {job.id}  end it for good",
        *([f"or have it allowed again: {by}"] if by else []),
    ]
