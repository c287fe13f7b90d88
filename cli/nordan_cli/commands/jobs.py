"""`nordan list`, `get` and `cancel`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from nordan_cli import references, render
from nordan_cli.client import Answer, Api, connect
from nordan_cli.commands import fenced
from nordan_cli.decode import decode
from nordan_cli.errors import Failed, Problem
from nordan_cli.models import Attempt, Job
from nordan_cli.options import Limit, Project, Watch, seconds
from nordan_cli.references import JobArgument
from nordan_cli.render import Format, Output
from nordan_cli.text import plain
from nordan_cli.watch import watch
from nordan_core.domain.states import TERMINAL, JobState

#: The facets that people look for first; the rest follows as it comes.
_FACETS = ("class", "process", "store", "describe", "access", "key", "forbid_exposure", "egress")


def list_jobs(
    ctx: typer.Context,
    *,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Jobs that ended long ago too.")] = False,
    limit: Limit = 50,
    watched: Watch = False,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """List jobs, newest first."""
    with connect(ctx, project) as api:

        def draw() -> tuple[str, bool]:
            items = api.items(api.within("jobs"), limit=10_000 if show_all else limit, state=state)
            now = api.run.clock.now()
            return render.printed({"items": items}, output, lambda: _list(items, now)), not watched

        watch(api.run, draw)


def get(
    ctx: typer.Context,
    job: JobArgument,
    *,
    watched: Watch = False,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show a job: state, history, attempts, policy, cost."""
    with connect(ctx, project) as api:
        identity = references.job_id(api, job)

        def draw() -> tuple[str, bool]:
            answer, found = references.fetch(api, identity)
            now = api.run.clock.now()
            is_last = not watched or found.state in TERMINAL
            return render.printed(answer, output, lambda: describe(found, now)), is_last

        watch(api.run, draw)


def why(ctx: typer.Context, job: JobArgument, *, output: Output = Format.TABLE, project: Project = None) -> None:
    """Say why a job waits, or why it ended.

    Each reason comes with the number of pools that it takes out.
    """
    with connect(ctx, project) as api:
        answer, found = references.fetch(api, references.job_id(api, job))
    shown = {name: answer.get(name) for name in ("id", "state", "reason", "message", "why")}
    render.show(shown, output, lambda: render.sections(("", _state(found)), ("", _why(found))))


def cancel(
    ctx: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, ends of ids, or names.")],
    *,
    grace: Annotated[str | None, typer.Option(metavar="TIME", help="From SIGTERM to SIGKILL: 30s.")] = None,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Stop a job.

    It gets SIGTERM, its grace time, then SIGKILL; one that only waits is cancelled at once.
    """
    with connect(ctx, project) as api:
        body = {} if grace is None else {"grace_s": seconds(grace)}
        # All names are looked up before any job is stopped: a mistyped one stops none.
        identities = [references.job_id(api, job) for job in jobs]
        told = {identity: _cancelled(api, identity, body) for identity in identities}
    answers = [answer for answer in told.values() if not isinstance(answer, Problem)]
    found = [decode(Job, answer) for answer in answers]
    shown = answers[0] if len(told) == len(answers) == 1 else {"items": answers}
    if answers:
        render.show(shown, output, lambda: "\n".join(f"{job.id} {job.state}" for job in found))
    if refused := [f"{identity}: {one}" for identity, one in told.items() if isinstance(one, Problem)]:
        raise Failed("\n".join(refused))


def _cancelled(api: Api, identity: str, body: Answer) -> Answer | Problem:
    """Return a job that is being cancelled or was; the refusal where it had ended, which must not keep the others."""
    try:
        return api.ask(api.within("jobs", identity, verb="cancel"), body)
    except Problem as problem:
        if problem.code != "job_ended":
            raise
        answer, job = references.fetch(api, identity)
        # A try whose answer was lost has done it, or somebody else has: what is asked for is so.
        return answer if job.state == JobState.CANCELLED else problem


def describe(job: Job, now: datetime) -> str:
    """Return all that `get` says about a job."""
    return render.sections(
        ("", _summary(job, now)),
        ("Why", _why(job)),
        ("Fenced", fenced.explain(job)),
        ("Policy", _policy(job)),
        ("Attempts", _attempts(job, now)),
        ("History", _history(job, now)),
    )


def _list(items: list[Answer], now: datetime) -> str:
    jobs = [decode(Job, item) for item in items]
    if not jobs:
        return "no jobs; nordan submit -- echo hello"
    titles = ("name", "id", "kind", "state", "reason", "gpus", "age", "ran")
    return render.table(titles, (_row(job, now) for job in jobs))


def _row(job: Job, now: datetime) -> tuple[object, ...]:
    times = (render.ago(job.created_at, now), _ran(job.started_at, job.finished_at, now))
    return (job.name, job.id, job.kind, job.state, job.reason, job.gpus or None, *times)


def _summary(job: Job, now: datetime) -> str:
    return render.fields(
        (
            ("job", f"{job.name}  {job.id}"),
            ("kind", job.kind),
            ("project", job.project_name or job.project),
            ("state", job.state),
            ("reason", job.reason),
            ("message", job.message),
            ("command", _command(job)),
            ("created", render.ago(job.created_at, now)),
            ("ran", _ran(job.started_at, job.finished_at, now)),
            ("cost", render.eur(job.cost_eur)),
        )
    )


def _state(job: Job) -> str:
    reason = f" ({job.reason})" if job.reason else ""
    return f"{job.name} is {job.state}{reason}" + (f": {job.message}" if job.message else "")


def _command(job: Job) -> str:
    command = job.spec.get("command")
    return " ".join(str(word) for word in command) if isinstance(command, list) else ""


def _why(job: Job) -> str:
    if job.state in TERMINAL or not job.why:
        return ""
    titles = ("pools", "reason", "facet", "wanted", "offered", "meaning")
    return render.table(titles, ((one.count, one.code, one.facet, one.want, one.have, one.message) for one in job.why))


def _policy(job: Job) -> str:
    stated = {facet: value for facet, value in job.policy.effective.items() if value is not None}
    if not stated:
        return ""
    by = job.policy.stated_by
    rows = ((facet, plain(stated[facet]), plain(by.get(facet))) for facet in sorted(stated, key=_facet_rank))
    return render.table(("facet", "value", "stated by"), rows)


def _facet_rank(facet: str) -> int:
    return _FACETS.index(facet) if facet in _FACETS else len(_FACETS)


def _attempts(job: Job, now: datetime) -> str:
    if not job.attempts:
        return ""
    titles = ("no", "state", "pool", "nodes", "reason", "exit", "ran", "cost", "message")
    return render.table(titles, (_attempt(one, now) for one in job.attempts))


def _attempt(one: Attempt, now: datetime) -> tuple[object, ...]:
    code = f"signal {one.signal}" if one.signal else one.exit_code
    return (
        *(one.number, one.result or one.state, one.pool or one.region, len(one.nodes) or None, one.reason, code),
        *(_ran(one.started_at, one.ended_at, now), render.eur(one.cost_eur), one.message),
    )


def _history(job: Job, now: datetime) -> str:
    rows = ((render.ago(one.at, now), one.state, one.reason, one.message) for one in job.status_history)
    return render.table(("when", "state", "reason", "message"), rows) if job.status_history else ""


def _ran(start: datetime | None, end: datetime | None, now: datetime) -> str:
    return "" if start is None else render.span(((end or now) - start).total_seconds())
