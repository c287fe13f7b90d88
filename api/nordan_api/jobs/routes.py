"""Routes of jobs: thin, one service call each."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from nordan_api.auth.callers import permitted
from nordan_api.auth.permissions import Permission
from nordan_api.bodies import document, only
from nordan_api.context import context_of
from nordan_api.errors import problem_document
from nordan_api.idempotency import counts_keys, key_of
from nordan_api.jobs import batch, contents, planning, resume, service, sessions
from nordan_api.jobs.views import artifact_line, attempt_document, job_document, job_line
from nordan_api.lanes import lanes_of, on_lane
from nordan_core.domain.errors import Invalid
from nordan_core.domain.ids import is_id
from nordan_core.domain.states import JobState
from nordan_core.domain.tenants import Principal

router = APIRouter(prefix="/v1/projects/{project}", tags=["jobs"])
Reader = Annotated[Principal, Depends(permitted(Permission.READ_JOBS))]
ContentReader = Annotated[Principal, Depends(permitted(Permission.READ_CONTENT))]
Visitor = Annotated[Principal, Depends(permitted(Permission.EXEC))]
Submitter = Annotated[Principal, Depends(permitted(Permission.SUBMIT))]
Body = Annotated[dict[str, Any], Depends(document)]  # Any: JSON


@router.post("/jobs", status_code=202)
@counts_keys
async def submit(project: str, request: Request, principal: Submitter, body: Body) -> JSONResponse:
    """Submit a job; 202 with its id, or 422 with the reason why it can never run."""
    key = key_of(request, principal, body)
    answer = await run_in_threadpool(service.submit, context_of(request), principal, project, body, key)
    headers = {"Location": answer.location} if answer.location else {}
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)


@router.post("/jobs:batchCreate")
@counts_keys
async def submit_batch(project: str, request: Request, principal: Submitter, body: Body) -> JSONResponse:
    """Submit many jobs; 200 with a result for each, in their order: accepted, or the problem that it alone has."""
    documents, key = batch.documents_of(body), key_of(request, principal, body)
    tell = partial(problem_document, request)
    submit_all = partial(batch.submit_all, tell=tell)
    answer = await run_in_threadpool(submit_all, context_of(request), principal, project, documents, key)
    return JSONResponse(answer.body, status_code=answer.status)


@router.post("/jobs:plan")
async def plan(project: str, request: Request, principal: Reader, body: Body) -> JSONResponse:
    """Say for every pool whether the job may and could run there now; nothing is changed."""
    lane = lanes_of(request).questions
    return JSONResponse(await on_lane(lane, planning.plan, context_of(request), principal, project, body))


@router.get("/jobs")
def list_jobs(  # each argument is one query parameter
    project: str,
    request: Request,
    principal: Reader,
    *,
    state: Annotated[list[JobState] | None, Query()] = None,
    name: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:  # Any: JSON
    """Return jobs, newest first."""
    if cursor is not None and not is_id(cursor, "job"):
        raise Invalid("cursor", "not one of ours; give back `next_cursor` as it came")
    states = [one.value for one in state or ()]
    jobs, after = service.page(
        context_of(request), principal, project, states=states, name=name, before=cursor, limit=limit
    )
    return {"items": [job_line(one) for one in jobs], "next_cursor": after}


@router.get("/jobs/{job}")
def get_job(project: str, job: str, request: Request, principal: Reader, response: Response) -> dict[str, Any]:
    """Return one job in full; the ETag is its version."""
    view = service.view(context_of(request), principal, project, job)
    response.headers["ETag"] = f'"{view.job.version}"'
    return job_document(view)


@router.get("/jobs/{job}/attempts")
def attempts(project: str, job: str, request: Request, principal: Reader) -> dict[str, Any]:  # Any: JSON
    """Return a job's attempts in order."""
    view = service.view(context_of(request), principal, project, job)
    return {"items": [attempt_document(one) for one in view.attempts]}


@router.get("/jobs/{job}/artifacts")
def artifacts(project: str, job: str, request: Request, principal: Reader) -> dict[str, Any]:  # Any: JSON
    """Return what a job stored: checkpoints and outputs."""
    view = service.view(context_of(request), principal, project, job)
    return {"items": [artifact_line(one) for one in view.artifacts]}


@router.get("/jobs/{job}/usage")
def usage(project: str, job: str, request: Request, principal: Reader) -> dict[str, Any]:  # Any: JSON
    """Return what each attempt used and cost, from the price frozen when it was placed."""
    return contents.usage(context_of(request), principal, project, job)


@router.get("/jobs/{job}/certificate")
def certificate(project: str, job: str, request: Request, principal: Reader, *, redacted: bool = False) -> JSONResponse:
    """Return a finished job's certificate, or what may be shown of it; `pending` until its audit entries are sealed."""
    return JSONResponse(contents.certificate(context_of(request), principal, project, job, redacted=redacted))


@router.post("/jobs/{job}:cancel")
def cancel(project: str, job: str, request: Request, principal: Submitter, body: Body) -> dict[str, Any]:  # Any: JSON
    """Ask a job to end; with `grace_s` for the time between SIGTERM and SIGKILL."""
    if unknown := sorted(body.keys() - {"grace_s"}):
        raise Invalid(unknown[0], "no such field; only grace_s may be given")
    grace = body.get("grace_s")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace <= 3600):
        raise Invalid("grace_s", "give seconds from 0 to 3600")
    return job_line(service.cancel(context_of(request), principal, project, job, grace))


@router.post("/jobs/{job}:retry")
def retry(project: str, job: str, request: Request, principal: Submitter, body: Body) -> dict[str, Any]:  # Any: JSON
    """Go on with a fenced job in another attempt; 422 with what stands against it where no pool may run it."""
    only(body)
    return job_line(resume.resume(context_of(request), principal, project, job))


@router.get("/jobs/{job}/logs")
def logs(  # each argument is one query parameter
    project: str,
    job: str,
    request: Request,
    principal: ContentReader,
    *,
    attempt: Annotated[int | None, Query(ge=1)] = None,
    rank: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Say where the log of one rank is read, and give leave to; a browser is sent there."""
    access = contents.log_access(context_of(request), principal, project, job, attempt=attempt, rank=rank)
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(access.url, status_code=307)
    return JSONResponse(access.model_dump(exclude_none=True))


@router.post("/jobs/{job}:connect")
def connect(project: str, job: str, request: Request, principal: ContentReader) -> JSONResponse:
    """Say where an inference job is reached, and give leave to call it."""
    access = contents.service_access(context_of(request), principal, project, job)
    return JSONResponse(access.model_dump(exclude_none=True))


@router.post("/jobs/{job}:exec")
def exec_(project: str, job: str, request: Request, principal: Visitor, body: Body) -> JSONResponse:
    """Say where a command is run inside a running attempt, and give leave to for a minute; `renew` asks for more."""
    access = sessions.session_access(context_of(request), principal, project, job, body)
    return JSONResponse(access.model_dump(exclude_none=True))
