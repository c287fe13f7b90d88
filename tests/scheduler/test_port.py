from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy.exc import OperationalError

from nordan_core.domain.jobs import JobKind, JobSpec, Resources
from nordan_core.residency.effective_text import effective_document
from nordan_core.store.codec import spec_document
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.port import Answers, build_port
from support.cell import FR, Cell, an_effective, lead
from support.scheduling import a_cycle, a_loader

Json = dict[str, Any]
SECRET = "of the control plane"


class PortClient:
    """Asks the application without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.secret = SECRET

    def get(self, path: str) -> Response:
        return asyncio.run(self._ask("GET", path, None))

    def post(self, path: str, json: Json) -> Response:
        return asyncio.run(self._ask("POST", path, json))

    async def _ask(self, method: str, path: str, json: Json | None) -> Response:
        async with AsyncClient(
            transport=ASGITransport(self._app),
            base_url="http://port.test",
            headers={"Authorization": f"Bearer {self.secret}"},
        ) as client:
            return await client.request(method, path, json=json)


@pytest.fixture
def client(cell: Cell) -> PortClient:
    answers = Answers(cell.store, cell.clock, a_loader(cell))
    return PortClient(build_port(answers, Metrics(), health=_health, secret=SECRET))


def _health() -> Json:
    return {"leader": False, "last_cycle_age_s": None}


def _question(cell: Cell, policy: Json | None = None, inputs: list[Json] | None = None, gpus: int = 1) -> Json:
    spec = JobSpec("asked", JobKind.BATCH, ("true",), Resources(gpus))
    return {
        "spec": spec_document(spec),
        "effective": effective_document(an_effective(policy or {})),
        "organisation": cell.organisation,
        "inputs": inputs or [],
    }


def test_plan_answers_pool_by_pool_with_what_the_judge_found(cell: Cell, client: PortClient) -> None:
    answer = client.post("/plan", json=_question(cell, {"residency": ["FR"]})).json()
    assert (answer["startable"], answer["chosen"]) == (True, "fr-h100")
    assert 0 <= answer["snapshot_age_s"] <= 1
    french, swedish = answer["regions"]
    assert (french["allowed"], french["fits_now"], french["refusals"]) == (True, True, [])
    assert french["price_eur_per_gpu_h"] == "2.5000"
    assert (swedish["allowed"], swedish["fits_now"]) == (False, False)
    facets = [one["facet"] for one in swedish["refusals"]]
    assert facets[:2] == ["process", "store"]
    assert "SE" in swedish["refusals"][0]["message"]


def test_plan_says_which_regions_hold_the_inputs(cell: Cell, client: PortClient) -> None:
    inputs = [{"name": "a", "regions": [FR, "se-bor-1"]}, {"name": "b", "regions": [FR]}]
    answer = client.post("/plan", json=_question(cell, inputs=inputs)).json()
    assert [(one["region"], one["holds_inputs"]) for one in answer["regions"]] == [(FR, True), ("se-bor-1", False)]
    assert answer["chosen"] == "fr-h100"


def test_plan_of_a_job_that_fits_nowhere_is_not_startable(cell: Cell, client: PortClient) -> None:
    answer = client.post("/plan", json=_question(cell, gpus=16)).json()
    assert (answer["startable"], answer["chosen"]) == (False, None)
    assert answer["regions"][0]["refusals"][0]["code"] == "no_capacity"


def test_why_tells_a_waiting_jobs_place_in_the_queue(cell: Cell, client: PortClient) -> None:
    cell.submit(gpus=8, nodes=3)
    [job] = cell.submit(gpus=8, nodes=3)
    a_cycle(cell).run(lead(cell.store))
    answer = client.post("/why", json={"job_id": job}).json()
    assert (answer["position"], answer["startable"]) == (2, False)
    assert {one["refusals"][0]["code"] for one in answer["regions"]} == {"gang_incomplete"}


def test_why_of_an_unknown_job_is_404(client: PortClient) -> None:
    assert client.post("/why", json={"job_id": "job_none"}).status_code == 404


def test_a_cell_without_a_world_asks_to_come_back_later(cell: Cell, client: PortClient) -> None:
    cell.run("delete from cell")
    cell.run("update residency_epoch set epoch = epoch + 1")
    response = client.post("/plan", json=_question(cell))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_health_and_metrics_say_whether_it_leads(client: PortClient) -> None:
    assert client.get("/healthz").json() == {"leader": False, "last_cycle_age_s": None}
    assert "nordan_leader 0.0" in client.get("/metrics").text


def test_a_step_that_does_not_end_makes_it_unhealthy(cell: Cell) -> None:
    """So the cluster starts it again; a standby takes over meanwhile."""
    stuck = {**_health(), "stuck": ["sealer"]}
    answers = Answers(cell.store, cell.clock, a_loader(cell))
    client = PortClient(build_port(answers, Metrics(), health=lambda: stuck, secret=SECRET))
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["stuck"]) == (503, ["sealer"])


def test_it_is_ready_while_the_database_answers(client: PortClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/readyz").status_code == 200

    def away(_: Answers) -> None:
        raise OperationalError("select", {}, Exception())

    monkeypatch.setattr(Answers, "check_database", away)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_nothing_else_is_served(client: PortClient) -> None:
    assert client.get("/openapi.json").status_code == 404
    assert client.get("/docs").status_code == 404


def test_jobs_are_asked_about_with_the_secret_only(cell: Cell, client: PortClient) -> None:
    """Loopback ports are open to every program of the machine, a tenant's among them."""
    [job] = cell.submit(1)
    for secret in ("", "wrong", SECRET.upper(), "x" * 5000):
        client.secret = secret
        for answer in (client.post("/plan", json=_question(cell)), client.post("/why", json={"job_id": job})):
            assert (answer.status_code, job in answer.text) == (401, False)
        assert client.get("/healthz").json() == _health()


def test_without_a_secret_nobody_is_answered(cell: Cell) -> None:
    """An empty one is none."""
    answers = Answers(cell.store, cell.clock, a_loader(cell))
    client = PortClient(build_port(answers, Metrics(), health=_health, secret=""))
    for secret in ("", SECRET):
        client.secret = secret
        assert client.post("/plan", json=_question(cell)).status_code == 401
