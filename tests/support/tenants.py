"""A tenant of a running stack: what a client of its does, over real HTTP, with every answer checked."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]
ENDED = frozenset({"succeeded", "failed", "cancelled"})
WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A key of one organisation, and the project that it works in."""

    http: httpx.Client
    key: str
    project: str = "default"

    def ask(self, method: str, path: str, *, expect: int | None = None, **options: Any) -> httpx.Response:
        """Ask the api: of the project, or of anything else with a path that begins with /v1."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        whole = path if path.startswith(("/v1/", "/worker/")) else f"/v1/projects/{self.project}{path}"
        answer = self.http.request(method, whole, headers=headers, **options)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def submit(self, document: Json, **headers: str) -> str:
        """Submit a job and return its id."""
        job: str = self.ask("POST", "/jobs", json=document, headers=headers, expect=202).json()["id"]
        return job

    def job(self, job: str) -> Json:
        """Return a job as it stands."""
        found: Json = self.ask("GET", f"/jobs/{job}", expect=200).json()
        return found

    def reaches(self, job: str, *states: str, within_s: float = WITHIN_S) -> Json:
        """Wait until a job is in one of these states; fail when it ends in another."""
        deadline = time.monotonic() + within_s
        while (found := self.job(job))["state"] not in states:
            told = {name: found[name] for name in ("state", "reason", "message", "why")}
            assert found["state"] not in ENDED, f"{job} ended as {told}, not as {states}"
            assert time.monotonic() < deadline, f"waited {within_s:g} s for {job} to be {states}: {told}"
            time.sleep(0.05)
        return found

    def runs(self, document: Json) -> Json:
        """Submit a job, wait until it has succeeded, and return it."""
        return self.reaches(self.submit(document), "succeeded")

    def log(self, job: str, rank: int = 0) -> str:
        """Return a rank's log, from the region's gateway."""
        access = self.ask("GET", f"/jobs/{job}/logs", params={"rank": rank}, expect=200).json()
        return self.at_gateway("GET", access, expect=200).text

    def at_gateway(
        self, method: str, access: Json, path: str = "", *, expect: int | None = None, **options: Any
    ) -> httpx.Response:
        """Use an access at its gateway."""
        headers = {"Authorization": f"Bearer {access['token']}", **options.pop("headers", {})}
        answer = self.http.request(method, f"{access['url']}{path}", headers=headers, **options)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def put_dataset(self, name: str, policy: Json, region: str, files: Mapping[str, bytes]) -> str:
        """Put a dataset's version into a region and return its artifact."""
        self.ask("POST", "/datasets", json={"name": name, "policy": policy}, expect=201)
        access = self.ask("POST", f"/datasets/{name}:put", json={"region": region}, expect=201).json()
        return self._commit(access, files)

    def put_files(self, document: Json, region: str, files: Mapping[str, bytes]) -> Json:
        """Put a job's files into a region and return the document that names them."""
        access = self.ask("POST", "/files:put", json={"region": region, "job": document}, expect=201).json()
        self._commit(access, files)
        return {**document, "files": {"files": entries(files)}}

    def _commit(self, access: Json, files: Mapping[str, bytes]) -> str:
        for content in files.values():
            self.at_gateway("PUT", access, f"/v1/blobs/{digest(content)}", content=content, expect=201)
        path = f"/v1/uploads/{access['upload_id']}:commit"
        artifact: str = self.at_gateway("POST", access, path, json={"files": entries(files)}, expect=201).json()[
            "artifact_id"
        ]
        return artifact


@contextmanager
def client_of(url: str) -> Iterator[httpx.Client]:
    """Yield a client that uses no proxy of the environment."""
    with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
        yield client


def add_tenant(admin: Tenant, organisation: str, project: str, floor: Json | None = None) -> Tenant:
    """Add an organisation with one project and return its owner."""
    admin.ask("POST", "/v1/organisations", json={"name": organisation}, expect=201)
    return add_project(admin, organisation, project, floor)


def add_project(admin: Tenant, organisation: str, project: str, floor: Json | None = None) -> Tenant:
    """Add a project to an organisation and return its owner, who sits in France."""
    body = {"name": project, "organisation": organisation} | ({"floor": floor} if floor else {})
    admin.ask("POST", "/v1/projects", json=body, expect=201)
    return Tenant(admin.http, add_key(admin, organisation, "owner"), project)


def add_key(admin: Tenant, organisation: str, role: str, **more: Any) -> str:
    """Add a key and return its secret."""
    body = {"role": role, "territory": "FR", **more}
    key: str = admin.ask("POST", f"/v1/organisations/{organisation}/keys", json=body, expect=201).json()["key"]
    return key


def entries(files: Mapping[str, bytes]) -> list[Json]:
    """Return files as a manifest lists them."""
    return [
        {"path": path, "digest": digest(content), "size_bytes": len(content)} for path, content in sorted(files.items())
    ]


def digest(content: bytes) -> str:
    """Return the name of bytes in a store."""
    return hashlib.sha256(content).hexdigest()
