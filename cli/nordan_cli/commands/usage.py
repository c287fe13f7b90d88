"""`nordan usage`: what jobs used and cost, at the prices that were frozen when they started."""

from __future__ import annotations

from typing import Annotated

import typer

from nordan_cli import references, render
from nordan_cli.client import Answer, Api, connect
from nordan_cli.decode import decode, decode_items
from nordan_cli.models import Job, Usage
from nordan_cli.options import Limit, Project
from nordan_cli.render import Format, Output


def usage(
    ctx: typer.Context,
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="One job; the project's newest if unsaid.")] = None,
    *,
    limit: Limit = 20,
    output: Output = Format.TABLE,
    project: Project = None,
) -> None:
    """Show what jobs used and cost."""
    with connect(ctx, project) as api:
        answer = _of_jobs(api, limit) if job is None else _of_job(api, job)
    render.show(answer, output, lambda: _jobs(answer) if job is None else _attempts(decode(Usage, answer)))


def _of_jobs(api: Api, limit: int) -> Answer:
    jobs = decode_items(Job, {"items": api.items(api.within("jobs"), limit=limit)})
    return {"items": [{"job": job.id, "name": job.name, "state": job.state, **_cost(api, job)} for job in jobs]}


def _of_job(api: Api, reference: str) -> Answer:
    return api.get(api.within("jobs", references.job_id(api, reference), "usage"))


def _cost(api: Api, job: Job) -> Answer:
    found = decode(Usage, _of_job(api, job.id))
    return {"gpu_seconds": sum(one.gpu_seconds for one in found.items), "cost_eur": found.cost_eur}


def _jobs(answer: Answer) -> str:
    jobs: list[Answer] = answer["items"]
    rows = [(one["name"], one["job"], one["state"], *_sums([one])) for one in jobs]
    return render.table(("name", "id", "state", "gpu-time", "cost"), [*rows, ("total", "", "", *_sums(jobs))])


def _sums(jobs: list[Answer]) -> tuple[str, str]:
    return _time(sum(one["gpu_seconds"] for one in jobs)), render.eur(sum(one["cost_eur"] for one in jobs))


def _attempts(used: Usage) -> str:
    titles = ("attempt", "pool", "gpus", "gpu-time", "EUR/GPU-h", "energy", "cost")
    rows: list[tuple[object, ...]] = [
        (
            *(one.number, one.pool, one.gpus, _time(one.gpu_seconds), one.price_eur_per_gpu_h),
            *("" if one.energy_wh is None else f"{one.energy_wh:.1f} Wh", render.eur(one.cost_eur)),
        )
        for one in used.items
    ]
    spent_s = sum(one.gpu_seconds for one in used.items)
    total = ("total", "", "", _time(spent_s), "", "", render.eur(used.cost_eur))
    return render.table(titles, [*rows, total])


def _time(gpu_seconds: float) -> str:
    """Return GPU-time in hours, or in seconds where hours would round it away."""
    return f"{gpu_seconds / 3600:.2f} h" if gpu_seconds >= 360 else f"{gpu_seconds:.3f} s"
