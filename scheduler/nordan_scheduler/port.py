"""The read-only port: answers "where could this job run" and "why does it wait", on leader and standby alike.

The api asks it and shows the secret that both know: jobs may reach loopback ports too. It changes nothing and knows
no tenants' names. A snapshot at most a second old
serves several questions; its age is in every answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from nordan_core.clock import Clock
from nordan_core.domain.errors import NotFound, Unauthenticated, Unavailable
from nordan_core.domain.ids import JobId, OrganisationId, PoolName, ProjectId, RegionCode
from nordan_core.domain.queueing import QueuedJob
from nordan_core.domain.refusals import Refusal
from nordan_core.store.codec import spec_of
from nordan_core.store.unit_of_work import Store
from nordan_scheduler.engine.explain import Explanation, PoolAnswer, explain, sentence
from nordan_scheduler.load import Loader, Picture
from nordan_scheduler.loops import AWAY
from nordan_scheduler.metrics import Metrics

MAX_AGE_S = 1.0
#: Any fixed number: the same question on the same snapshot has the same answer.
SEED = 1
Json = dict[str, Any]  # Any: JSON
Sentences = Mapping[tuple[PoolName, str], str]
"""What the judge says of a pool and a facet."""


class InputPlace(BaseModel):
    """An input and the regions that hold it."""

    model_config = ConfigDict(extra="ignore")
    name: str = ""
    regions: tuple[str, ...]


class PlanQuestion(BaseModel):
    """A job as the api has prepared it: specification and effective policy as the store keeps them.

    Of the policy's derogations, all that cover the job, as few are used as will do.
    """

    model_config = ConfigDict(extra="ignore")
    spec: Json
    effective: Json
    organisation: str
    inputs: Annotated[tuple[InputPlace, ...], Field(max_length=128)] = ()


class WhyQuestion(BaseModel):
    """A job that was submitted."""

    model_config = ConfigDict(extra="ignore")
    job_id: str


class Answers:
    """Takes snapshots when asked and answers from them; one question at a time."""

    def __init__(self, store: Store, clock: Clock, loader: Loader) -> None:
        self._store = store
        self._clock = clock
        self._loader = loader
        self._lock = Lock()
        self._picture: Picture | None = None

    def plan(self, question: PlanQuestion) -> Json:
        """Answer for a job that is not submitted."""
        held = [frozenset(RegionCode(region) for region in one.regions) for one in question.inputs]
        spec, now = spec_of(question.spec), self._clock.now()
        with self._lock:
            picture = self._fresh()
            digest, derogations = self._loader.law.asked(question.effective)
            job = QueuedJob(
                id=JobId("job_asked"),
                organisation=OrganisationId(question.organisation),
                project=ProjectId(""),
                version=0,
                policy_digest=digest,
                resources=spec.resources,
                nodes=spec.nodes,
                created_at=now,
                priority=spec.priority,
                objective=spec.objective,
                max_price=spec.max_price,
                data_regions=frozenset.intersection(*held) if held else None,
                derogations=derogations,
            )
            return self._answer(job, picture)

    def why(self, question: WhyQuestion) -> Json:
        """Answer for a submitted job.

        Raises:
            NotFound: no such job.
        """
        name = JobId(question.job_id)
        with self._lock:
            job, documents = self._read(name)
            picture, law = self._fresh(), self._loader.law
            law.learn({digest: documents[digest] for digest in law.unknown(documents)})
            answer = self._answer(self._loader.as_today(job), picture)
            return {**answer, "job": name, "position": self._position(name)}

    def check_database(self) -> None:
        """Return when the database answers; else raise what the port's callers see as 503."""
        with self._store.begin() as work:
            work.epoch.current()

    def _read(self, name: JobId) -> tuple[QueuedJob, Json]:
        with self._store.begin() as work:
            jobs = work.scheduling.jobs([name])
            data = work.scheduling.data([name]).get(name)
            documents = work.scheduling.effective([name])
        if not jobs:
            raise NotFound("job", name)
        job = jobs[0] if data is None else replace(jobs[0], data_regions=data.regions, resume_from=data.resume_from)
        return job, documents

    def _position(self, job: JobId) -> int | None:
        """Return a waiting job's place in the queue, the first being 1."""
        waiting = self._fresh().snapshot.jobs
        return next((place for place, one in enumerate(waiting, start=1) if one.id == job), None)

    def _answer(self, job: QueuedJob, picture: Picture) -> Json:
        now = self._clock.now()
        book = self._loader.book(picture.epoch)
        said = self._loader.law.residency(job, book, now)
        snapshot = replace(picture.snapshot, residency={job.residency_key: said})
        age_s = self._clock.monotonic() - picture.taken_at
        sentences = self._loader.law.sentences(job, book, now)
        used = {pool: by.ids for pool, by in said.derogated.items()}
        return plan_answer(explain(snapshot, job, now, SEED), sentences, age_s, used)

    def _fresh(self) -> Picture:
        if self._picture is None or self._clock.monotonic() - self._picture.taken_at > MAX_AGE_S:
            self._picture = self._loader.load()
        return self._picture


def plan_answer(found: Explanation, sentences: Sentences, age_s: float, used: Mapping[PoolName, Sequence[str]]) -> Json:
    """Return an explanation as the api passes it on; refusals of the judge are told in its own words.

    `used` names the derogations that alone make a pool lawful.
    """
    return {
        "snapshot_age_s": round(max(age_s, 0.0), 3),
        "startable": found.chosen is not None,
        "chosen": found.chosen,
        "regions": [_region_answer(one, sentences, used.get(one.pool, ())) for one in found.pools],
    }


def build_port(answers: Answers, metrics: Metrics, *, health: Callable[[], Json], secret: str) -> FastAPI:
    """Return the port's application. Whoever asks about jobs shows the secret; without one nobody is answered."""
    app = FastAPI(title="Nordan scheduler, read-only", openapi_url=None, docs_url=None, redoc_url=None)
    shown = [Depends(_shows(secret))]

    @app.post("/plan", dependencies=shown)
    def plan_job(question: PlanQuestion) -> Json:
        return answers.plan(question)

    @app.post("/why", dependencies=shown)
    def why_job(question: WhyQuestion) -> Json:
        return answers.why(question)

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        found = health()
        return JSONResponse(found, 503 if found.get("stuck") else 200)

    @app.get("/readyz")
    def readyz() -> Json:
        answers.check_database()
        return health()

    @app.get("/metrics")
    def metrics_text() -> Response:
        text = metrics.text(is_leading=bool(health()["leader"]))
        return Response(text, media_type="text/plain; version=0.0.4")

    app.add_exception_handler(Unauthenticated, lambda _request, error: _problem(401, error))
    app.add_exception_handler(NotFound, lambda _request, error: _problem(404, error))
    for kind in (Unavailable, *AWAY):
        app.add_exception_handler(kind, lambda _request, error: _problem(503, error))
    return app


def _shows(secret: str) -> Callable[[Request], None]:
    wanted = f"Bearer {secret}".encode()

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not secret or not hmac.compare_digest(given, wanted):
            raise Unauthenticated("this port answers the control plane only")

    return check


def _problem(status: int, error: Exception) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else {}
    detail = (
        str(error) if isinstance(error, NotFound | Unauthenticated | Unavailable) else "the database does not answer"
    )
    return JSONResponse({"status": status, "detail": detail}, status, headers)


def _region_answer(one: PoolAnswer, sentences: Sentences, derogations: Sequence[str]) -> Json:
    return {
        "region": one.region,
        "pool": one.pool,
        "allowed": one.is_allowed,
        "derogations": list(derogations),
        "refusals": [_refusal(refusal, sentences.get((one.pool, refusal.facet))) for refusal in one.refusals],
        "holds_inputs": one.holds_inputs,
        "fits_now": one.fits_now,
        "price_eur_per_gpu_h": str(one.price.eur_per_gpu_h),
        "estimated_start": None,
    }


def _refusal(refusal: Refusal, in_words: str | None) -> Json:
    return {
        "code": refusal.code.value,
        "facet": refusal.facet,
        "want": refusal.want,
        "have": refusal.have,
        "message": in_words or sentence(refusal),
    }
