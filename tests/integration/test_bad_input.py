"""Bad input on the whole way, from the command line and over HTTP to real parts: a clear error, and nothing changed.

Field by field it is tested at the api (`tests/api/test_bad_input.py`), claim by claim at supervisor and gateway
(`tests/workers`); here what passes through several of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from nordan_core.clock import SystemClock
from nordan_core.proof.keys import SigningKey
from nordan_core.proof.tokens import AccessClaims, GrantClaims, mint_access, mint_grant
from support.chaos_stack import FR, SE, ChaosStack
from support.region_side import asking
from support.tenants import Json, Tenant, add_project

NORDAN = Path(sys.executable).with_name("nordan")
#: What a refused request may leave behind is an entry in the log: a refusal is an act.
TABLES = ("job", "attempt", "attempt_grant", "lease", "outbox", "dataset", "artifact", "location", "upload", "project")
KEY = "once"
#: Whole rows, but for when the one that lives was last heard of.
_GRANTED = """
    select to_jsonb(g) - 'alive_until', to_jsonb(l) from attempt_grant g
    left join lease l on l.attempt_id = g.attempt_id order by g.id
    """
FIRST: Json = {"name": "hello", "command": ["true"], "policy": {"process": ["FR"]}}
HELLO = "name: hello\ncommand: [echo, hello]\n"
#: By what is wrong: the document, and what its author must be told.
DOCUMENTS: dict[str, tuple[str, list[str]]] = {
    "a field that there is not": (HELLO + "comand: [x]\n", ["comand", "command"]),
    "a field that stands twice": (HELLO + "nodes: 1\nnodes: 2\n", ["nodes", "twice"]),
    "the Kingdom under its everyday name": (HELLO + "policy: {process: [UK]}\n", ["'UK'", "GB"]),
    "Greece as the Union writes it": (HELLO + "policy: {process: [EL]}\n", ["'EL'", "GR"]),
    "a code in small letters": (HELLO + "policy: {process: [fr]}\n", ["'fr'", "FR"]),
    "letters that only look like a code": (HELLO + "policy: {process: [\uff26\uff32]}\n", ["policy.process.0", "FR"]),
    "a code with a line's end": (HELLO + 'policy: {process: ["FR\\n"]}\n', ["policy.process.0", "FR"]),
    "Norway, where nobody offers a pool": (HELLO + "policy: {process: [NO]}\n", ["residency_unsatisfiable", "NO"]),
    "no GPUs": (HELLO + "resources: {gpu: 0}\n", ["resources.gpu", "0 GPUs"]),
    "fewer GPUs than none": (HELLO + "resources: {gpu: -1}\n", ["resources.gpu", "-1 GPUs"]),
    "ten thousand nodes": (HELLO + "nodes: 10000\n", ["nodes", "4096"]),
    "no command": ("name: hello\ncommand: []\n", ["command"]),
    "an environment of a mebibyte": (HELLO + f"env: {{A: {'x' * 2**20}}}\n", ["262144 bytes"]),
    "an environment over its limit": (HELLO + f"env: {{A: {'x' * 40_000}}}\n", ["env holds over 32768 bytes"]),
    "another project's dataset": (HELLO + "inputs: [dataset/theirs]\n", ["no dataset 'theirs'"]),
    "an artifact that never was": (HELLO + f"inputs: [artifact/art_{'0' * 26}]\n", ["no artifact"]),
}


@pytest.fixture(scope="module")
def tenant(admin: Tenant, organisation: str) -> Tenant:
    return add_project(admin, organisation, "careless")


@pytest.fixture(scope="module")
def stranger(admin: Tenant, organisation: str) -> Tenant:
    tenant = add_project(admin, organisation, "stranger")
    tenant.put_dataset("theirs", {}, FR, {"note": b"theirs"})
    return tenant


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that has ended, and a dataset: what tokens may speak of."""

    job: str
    attempt: str
    grant: str
    manifest: str


@pytest.fixture(scope="module")
def finished(stack: ChaosStack, tenant: Tenant) -> Finished:
    job = tenant.submit(FIRST, **{"Idempotency-Key": KEY})
    attempt, grant = _attempt_and_grant(stack, tenant.reaches(job, "succeeded")["id"])
    artifact = tenant.put_dataset("own", {}, FR, {"note": b"own"})
    manifest = tenant.ask("GET", f"/artifacts/{artifact}", expect=200).json()["digest"]
    return Finished(job, attempt, grant, manifest)


@pytest.fixture(scope="module")
def live(stack: ChaosStack, tenant: Tenant) -> Iterator[str]:
    """Yield the grant of an attempt that runs."""
    job = tenant.submit({**FIRST, "command": ["sleep", "120"]})
    tenant.reaches(job, "running")
    yield _attempt_and_grant(stack, job)[1]
    assert tenant.job(job)["state"] == "running"
    tenant.ask("POST", f"/jobs/{job}:cancel", json={"grace_s": 0}, expect=200)
    tenant.reaches(job, "cancelled")


def _attempt_and_grant(stack: ChaosStack, job: str) -> tuple[str, str]:
    query = "select a.id, g.id from attempt a join attempt_grant g on g.attempt_id = a.id where a.job_id = %(job)s"
    [(attempt, grant)] = stack.rows(query, {"job": job})
    return attempt, grant


@pytest.fixture
def unchanged(stack: ChaosStack, finished: Finished, stranger: Tenant, live: str) -> Iterator[None]:
    """Count every row before and after, once all is there that tests speak of."""
    query = " union all ".join(f"select '{table}', count(*) from {table}" for table in TABLES)
    before = stack.rows(query)
    yield
    assert stack.rows(query) == before


@pytest.mark.parametrize("fault", DOCUMENTS)
@pytest.mark.usefixtures("unchanged")
def test_a_faulty_document_is_refused_in_words(tenant: Tenant, tmp_path: Path, fault: str) -> None:
    """By the command line itself or by the api, and never with a traceback."""
    text, words = DOCUMENTS[fault]
    (tmp_path / "job.yaml").write_text(text)
    done = subprocess.run(
        [NORDAN, "submit", "-f", "job.yaml"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "NORDAN_URL": str(tenant.http.base_url),
            "NORDAN_KEY": tenant.key,
            "NORDAN_PROJECT": tenant.project,
            "COLUMNS": "200",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {1, 2}
    assert done.stdout == ""
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("unchanged")
def test_a_reused_idempotency_key_conflicts(tenant: Tenant, finished: Finished) -> None:
    """Under the key of the first, another body is refused, and the first is answered again as it was."""
    headers = {"Idempotency-Key": KEY}
    answer = tenant.ask("POST", "/jobs", json={**FIRST, "name": "other"}, headers=headers, expect=409)
    assert answer.json()["code"] == "idempotency_key_reused"
    assert tenant.submit(FIRST, **headers) == finished.job


@pytest.mark.usefixtures("unchanged")
class TestTokens:
    """At a real gateway, signed with the stack's real key where it takes one."""

    def test_each_wrong_token_is_refused_for_its_own_reason(self, stack: ChaosStack, finished: Finished) -> None:
        """Expired, foreign, forged, for something else, a grant, an API key."""
        now, real = SystemClock().now(), SigningKey.load(stack.data / "control" / "keys" / "grant.key")
        obj = f"manifest:{finished.manifest}"

        def a_pass(key: SigningKey = real, **changes: Any) -> str:
            claims: dict[str, Any] = {
                "audience": f"gateway:{FR}",
                "obj": obj,
                "act": "read",
                "subject": "key_x",
                "expires_at": now + timedelta(minutes=5),
            }
            return mint_access(AccessClaims(**{**claims, **changes}), key)

        grant = GrantClaims(
            grant_id=finished.grant,
            attempt_id=finished.attempt,
            job_id="job_x",
            region=FR,
            pool="pool",
            nodes=("node",),
            fence=1,
            redemption_id="0" * 32,
            issued_at=now,
            expires_at=now + timedelta(minutes=5),
            policy_digest="0" * 64,
            epoch=1,
        )
        answers = {
            "the right one": (a_pass(), 200, None),
            "expired": (a_pass(expires_at=now - timedelta(minutes=1)), 401, "token_expired"),
            "of another key": (a_pass(SigningKey.create()), 401, "token_forged"),
            "a grant": (mint_grant(grant, real), 401, "token_forged"),
            "an API key": (stack.key, 401, "token_malformed"),
            "of another region": (a_pass(audience=f"gateway:{SE}"), 403, "wrong_region"),
            "for another object": (a_pass(obj=f"attempt:{finished.attempt}"), 403, "wrong_object"),
            "for another action": (a_pass(act="put"), 403, "wrong_action"),
        }
        found = {what: _shown(stack, finished.manifest, token) for what, (token, *_) in answers.items()}
        assert found == {what: (status, code) for what, (_, status, code) in answers.items()}

    def test_a_pass_is_no_api_key_and_a_regions_credential_none_either(
        self, stack: ChaosStack, tenant: Tenant, finished: Finished
    ) -> None:
        """Each credential opens its own door only."""
        artifact = tenant.ask("GET", "/datasets/own", expect=200).json()["versions"][0]["id"]
        token = tenant.ask("POST", f"/artifacts/{artifact}:read", json={}, expect=200).json()["token"]
        for secret in (token, _joined(stack, FR)["credential"]):
            assert tenant.http.get("/v1/me", headers=_bearer(secret)).json()["code"] == "unauthenticated"
        for secret in (token, tenant.key, stack.key):
            answer = tenant.http.post("/worker/v1/sync", json={"supervisor_id": "x"}, headers=_bearer(secret))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.usefixtures("unchanged")
class TestGrants:
    """As whoever has a region's credential might show them."""

    def test_each_wrong_grant_is_refused_for_its_own_reason(
        self, stack: ChaosStack, tenant: Tenant, finished: Finished, live: str
    ) -> None:
        """Forged, another region's (which learns nothing by it), replayed while it lives, replayed after the end."""
        before = stack.rows(_GRANTED)
        unknown = ("gone", "unknown_grant", "this region has no such grant")
        wrong = {
            "forged": (FR, f"grt_{'0' * 26}", unknown),
            "another region's, over": (SE, finished.grant, unknown),
            "another region's, alive": (SE, live, unknown),
            "over": (FR, finished.grant, ("gone", "attempt_over", "the attempt of this grant is over")),
            "alive": (FR, live, ("refused", "already_redeemed", "another redemption of this grant lives")),
        }
        for what, (region, grant, expected) in wrong.items():
            answer = _redeemed(stack, tenant, region, grant)
            assert (answer["outcome"], answer["code"], answer["message"]) == expected, what
            assert (answer["order"], answer["grant"]) == (None, ""), what
        assert stack.rows(_GRANTED) == before


def _shown(stack: ChaosStack, manifest: str, token: str) -> tuple[int, str | None]:
    ports: dict[str, int] = json.loads((stack.data / "ports.json").read_text())
    url = f"http://127.0.0.1:{ports[f'gateway-{FR}']}/v1/manifests/{manifest}"
    answer = httpx.get(url, headers=_bearer(token), trust_env=False)
    return answer.status_code, answer.json().get("code")


def _redeemed(stack: ChaosStack, tenant: Tenant, region: str, grant: str) -> Json:
    item = {"grant_id": grant, "redemption_id": "f" * 32}
    headers = _bearer(_joined(stack, region)["credential"])
    answer = tenant.http.post("/worker/v1/grants:redeem", json=asking(item), headers=headers)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()["items"][0]
    return found


def _joined(stack: ChaosStack, region: str) -> Json:
    found: Json = json.loads((stack.region(region) / "join.json").read_text())
    return found


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
