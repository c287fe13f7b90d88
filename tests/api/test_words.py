"""Texts and numbers that nothing can keep: refused by name, and whatever goes wrong, no log quotes a tenant."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from nordan_core.store.tenants import Tenants
from support.control import Control, Json
from support.lab import JOBS, job

CANARY = "canary0"
NUL = CANARY + "\x00"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/{}",
        "/v1/projects/{}/jobs",
        "/v1/projects/default/jobs/{}",
        "/v1/projects/default/jobs?name={}",
        "/v1/projects/default/jobs?cursor={}",
        "/v1/projects/default/datasets/{}",
        "/v1/projects/default/artifacts/{}",
        "/v1/audit/entries?after={}",
        "/v1/{}",
    ],
)
def test_an_address_with_nul_is_refused(europe: Control, path: str) -> None:
    """The database keeps no such text, so nothing can have that name."""
    answer = europe.admin("GET", path.format(CANARY + "%00"), expect=422).json()
    assert answer["code"] == "invalid"


@pytest.mark.parametrize("text", [NUL, CANARY + "\ud800"])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (JOBS, job(image="{}"), "image"),
        (JOBS, job(kind="inference", readiness={"path": "/{}"}), "readiness.path"),
        (JOBS, job(env={"A": "{}"}), "env.A"),
        (JOBS, job(command=["true", "{}"]), "command.1"),
        (f"{JOBS}:plan", job(image="{}"), "image"),
        ("/v1/projects", {"name": "b", "organisation": "{}"}, "organisation"),
        ("/v1/organisations/home/keys", {"role": "viewer", "project": "{}"}, "project"),
        ("/v1/projects/default/files:put", {"region": "{}", "job": job()}, "region"),
        ("/v1/admin:apply", {"documents": [{"kind": "Entity", "name": "{}", "seat": "FR"}]}, "documents.0.name"),
    ],
)
def test_a_text_with_nul_or_half_a_surrogate_pair_is_refused_by_field(
    europe: Control, path: str, body: Json, field: str, text: str
) -> None:
    """Wherever it stands in the document, and before anything is looked up."""
    content = json.dumps(body).replace("{}", json.dumps(text)[1:-1])
    headers = {"Authorization": f"Bearer {europe.admin_key}"}
    answer = europe.client.post(path, content=content, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("max_wait", "1e308"),
        ("max_duration", "1e308"),
        ("grace", "1e400"),
        ("max_price", "1e308"),
        ("max_price", '"1e999999999"'),
        ("priority", "1" + "0" * 5000),
        ("resources.memory", f'"{"9" * 40}TiB"'),
    ],
)
def test_a_number_beyond_everything_is_refused(europe: Control, field: str, number: str) -> None:
    """It would overflow a column, a clock or the scheduler's arrays."""
    name, _, inner = field.partition(".")
    value = f'{{"{inner}": {number}}}' if inner else number
    content = f'{{"name": "a", "command": ["true"], "{name}": {value}}}'
    headers = {"Authorization": f"Bearer {europe.admin_key}"}
    answer = europe.client.post(JOBS, content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert europe.admin("GET", JOBS).json()["items"] == []


def test_a_defect_is_a_problem_document_and_its_words_are_not_logged(
    europe: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets a request id, the log the same id and a place; the connection goes on."""

    def fail(*_: Any) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(Tenants, "projects", fail)
    with structlog.testing.capture_logs() as events, caplog.at_level(logging.DEBUG):
        answer = europe.admin("GET", "/v1/projects", expect=500).json()
    assert answer["code"] == "internal_error"
    assert CANARY not in str(answer)
    [event] = [one for one in events if one["event"] == "defect"]
    assert event["request_id"] == answer["request_id"]
    assert CANARY not in caplog.text
