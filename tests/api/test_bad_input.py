"""Bad input at every door: a clear error that names the field, never a defect, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest

from support.lab import JOBS, Lab
from support.region_side import manifest

Json = dict[str, Any]
PROJECT = "/v1/projects/default"
#: Every route that takes a document, with one that it would accept.
DOORS: dict[str, Json] = {
    JOBS: {"name": "a", "command": ["true"]},
    f"{JOBS}:plan": {"name": "a", "command": ["true"]},
    f"{JOBS}/there:cancel": {"grace_s": 1},
    f"{PROJECT}/datasets": {"name": "fresh", "policy": {}},
    f"{PROJECT}/datasets/known:put": {"region": "fr-bru-1"},
    f"{PROJECT}/files:put": {"region": "fr-bru-1", "job": {"name": "a", "command": ["true"]}},
    "/v1/organisations": {"name": "fresh"},
    "/v1/organisations/home/keys": {"role": "viewer"},
    "/v1/projects": {"name": "fresh"},
    "/v1/admin:apply": {"documents": [{"kind": "Entity", "name": "fresh", "seat": "FR"}]},
    "/v1/regions/fr-bru-1:join": {"gateway_url": "http://127.0.0.1:1", "broker_url": "redis://127.0.0.1:1"},
}


@pytest.fixture
def there(lab: Lab) -> Iterator[Lab]:
    """Yield a control plane where each door leads somewhere; afterwards no row may have changed."""
    lab.submit(name="there")
    lab.admin("POST", f"{PROJECT}/datasets", {"name": "known", "policy": {}}, expect=201)
    with unchanged(lab):
        yield lab


@contextmanager
def unchanged(lab: Lab) -> Iterator[None]:
    """Compare every row before and after, but for the log: a refused submission or upload is an act of its own."""
    before = lab.dump()
    yield
    after = lab.dump()
    assert {name for name in before if before[name] != after[name]} <= {"audit_entry"}


def refuse(lab: Lab, door: str, body: object, *, statuses: tuple[int, ...] = (422,)) -> Json:
    """Send a body and check that it is refused with a problem document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {lab.admin_key}"}
    response = lab.client.post(door, content=content, headers=headers)
    assert response.status_code in statuses, (door, content[:200], response.text)
    assert response.headers["content-type"] == "application/problem+json"
    answer: Json = response.json()
    assert answer["status"] == response.status_code
    assert answer["request_id"] == response.headers["x-request-id"]
    assert answer["detail"]
    return answer


@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_document_is_refused(there: Lab, door: str) -> None:
    """Whatever the route: other JSON, no JSON, no text, a key twice, constants that JSON does not have."""
    sample = json.dumps(DOORS[door])
    key = next(iter(DOORS[door]))
    bodies: list[bytes] = [
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{",
        b"}{",
        b"\xff\xfe",
        b"\x00",
        sample.encode() + b"x",
        sample.encode("utf-16"),
        f'{{"{key}": 1, "{key}": 2}}'.encode(),
        (sample[:-1] + f', "{key}": 1}}').encode(),
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ]
    for body in bodies:
        refuse(there, door, body)


@pytest.mark.parametrize("door", DOORS)
def test_a_field_that_there_is_not_is_named(there: Lab, door: str) -> None:
    """With the ones that there are, or where they are explained."""
    answer = refuse(there, door, {**DOORS[door], "colour": "red"})
    # The world's document has one field only; its error is about that one.
    assert answer["errors"][0]["field"] in {"colour", "documents"}


@pytest.mark.parametrize("door", DOORS)
def test_every_field_refuses_what_it_cannot_be(there: Lab, door: str) -> None:
    """One field at a time; what a field may well be is left out of the count."""
    values: list[Any] = [None, True, 0, -1, 1e300, 10**400, "", "\0", "x" * 100_000, [], {}, [[]], [None]]
    for field, value in product(DOORS[door], values):
        if not _is_fine(field, value):
            answer = refuse(there, door, {**DOORS[door], field: value}, statuses=(404, 409, 422))
            assert answer["code"] in {"invalid", "not_found"}, (field, value, answer)


def _is_fine(field: str, value: object) -> bool:
    if field == "policy" and value == {}:
        return True
    if field == "grace_s":
        return value is None or (value == 0 and value is not False)
    return field == "documents" and value == []


@pytest.mark.parametrize("door", DOORS)
def test_a_text_that_the_store_cannot_keep_is_refused(there: Lab, door: str) -> None:
    """NUL and half a surrogate pair, in keys and values, at any depth."""
    sample = json.dumps(DOORS[door])[:-1]
    for text in ("\\u0000", "\\ud800", "a\\udfff"):
        refuse(there, door, f'{sample}, "x": "{text}"}}'.encode())
        refuse(there, door, f'{sample}, "{text}": 1}}'.encode())
        refuse(there, door, f'{sample}, "x": {{"y": [["{text}"]]}}}}'.encode())


@pytest.mark.parametrize("door", DOORS)
def test_a_body_over_the_limit_is_refused_unread(there: Lab, door: str) -> None:
    """413, whether its length is announced or not."""
    limit = 17 << 20 if door == "/v1/admin:apply" else 257 << 10
    refuse(there, door, b" " * limit, statuses=(413,))
    headers = {"Authorization": f"Bearer {there.admin_key}"}
    chunks = (b" " * 65536 for _ in range(limit // 65536 + 1))
    assert there.client.post(door, content=chunks, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/%00/jobs",
        "/v1/projects/default/jobs/%00",
        "/v1/projects/default/jobs?name=%00",
        "/v1/projects/default/jobs?cursor=%00",
        "/v1/projects/default/datasets/%00",
        "/v1/projects/default/artifacts/a%00b",
        "/v1/projects/default/jobs?limit=0",
        "/v1/projects/default/jobs?limit=501",
        "/v1/projects/default/jobs?limit=x",
        "/v1/projects/default/jobs?state=flying",
        "/v1/audit/entries?after=-2",
        "/v1/audit/entries?after=99999999999999999999",
        "/v1/audit/entries?limit=0",
    ],
)
def test_an_address_that_nothing_can_have_is_refused(there: Lab, path: str) -> None:
    """With the parameter at fault."""
    answer = there.admin("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text
    assert answer.json()["errors"][0]["field"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/projects/default/jobs/%ff%fe", "not_found"),
        ("/v1/projects/..%2f..%2fetc/jobs", "not_found"),
        ("/v1/projects/default/jobs/%F0%9F%98%80", "not_found"),
        ("/v1/nothing", "not_found"),
        ("/v2/jobs", "not_found"),
        ("/v1/projects/default/jobs/" + "x" * 3000, "not_found"),
    ],
)
def test_an_address_where_nothing_is_is_not_found(there: Lab, path: str, code: str) -> None:
    """As a problem document too."""
    answer = there.admin("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, code), answer.text


def test_a_method_that_a_route_does_not_have_is_refused(there: Lab) -> None:
    """405 with the code for it."""
    for method, path in (("PUT", JOBS), ("DELETE", "/v1/pools"), ("PATCH", "/v1/me")):
        answer = there.admin(method, path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert answer.json()["detail"] == f"this address does not take {method}"


#: Job documents with one thing wrong, and where it is.
JOB_FAULTS: list[tuple[Json, str]] = [
    ({"name": "Upper"}, "name"),
    ({"name": "a" * 64}, "name"),
    ({"name": "-a"}, "name"),
    ({"name": "a\n"}, "name"),
    ({"command": "true"}, "command"),
    ({"command": [1]}, "command.0"),
    ({"command": ["x"] * 1001}, "command"),
    ({"env": {"1A": "x"}}, "env"),
    ({"env": {"NORDAN_JOB": "x"}}, ""),
    ({"env": {"A": 1}}, "env"),
    ({"nodes": 0}, "nodes"),
    ({"nodes": True}, "nodes"),
    ({"nodes": 1.5}, "nodes"),
    ({"nodes": "2"}, "nodes"),
    ({"resources": {"gpu": True}}, "resources.gpu"),
    ({"resources": {"gpu": "H100"}}, "resources.gpu"),
    ({"resources": {"gpu": ":8"}}, "resources.gpu"),
    ({"resources": {"gpu": 33}}, "resources.gpu"),
    ({"resources": {"cpu": 0}}, "resources.cpu"),
    ({"resources": {"memory": 64}}, "resources.memory"),
    ({"resources": {"memory": "64GB"}}, "resources.memory"),
    ({"resources": {"memory": "99999999999999999999TiB"}}, "resources.memory"),
    ({"resources": {"disk": 1}}, "resources.disk"),
    ({"inputs": ["patients"]}, "inputs.0"),
    ({"inputs": ["dataset/../x"]}, "inputs.0"),
    ({"inputs": ["dataset/a", "dataset/a"]}, ""),
    ({"outputs": ["Model"]}, "outputs.0"),
    ({"outputs": ["m", "m"]}, ""),
    ({"max_price": 0}, "max_price"),
    ({"max_price": "NaN"}, "max_price"),
    ({"max_price": "1e99999999"}, "max_price"),
    ({"max_price": 99_999_999_999}, "max_price"),
    ({"max_duration": 0}, "max_duration"),
    ({"max_duration": "4 hours"}, "max_duration"),
    ({"max_wait": 1e300}, "max_wait"),
    ({"max_wait": "99999999999999d"}, "max_wait"),
    ({"grace": -1}, "grace"),
    ({"retry": {"limit": 101}}, "retry.limit"),
    ({"retry": {"limit": -1}}, "retry.limit"),
    ({"priority": 1001}, "priority"),
    ({"port": 80}, "port"),
    ({"port": 8080}, ""),
    ({"kind": "inference", "port": 8080, "readiness": {"path": "x"}}, "readiness.path"),
    ({"policy": {"colour": ["FR"]}}, "policy.colour"),
    ({"policy": {"process": "FR"}}, "policy.process"),
    ({"policy": {"residency": ["FR"], "process": ["FR"]}}, "policy.process"),
    ({"policy": {"class": "secret"}}, "policy.class"),
    ({"policy": {"process": ["NOWHERE"]}}, "policy.process.0"),
    ({"policy": {"forbid_exposure": ["U S"]}}, "policy.forbid_exposure.0"),
    ({"policy": {"valid_until": "tomorrow"}}, "policy.valid_until"),
    ({"policy": {"seal_min": [1, 2]}}, "policy.seal_min"),
    ({"files": {"files": [{"path": "../x", "digest": "0" * 64, "size_bytes": 1}]}}, "files"),
    ({"files": {"files": [{"path": "x", "digest": "0", "size_bytes": 1}]}}, "files.files.0.digest"),
    ({"image": 3}, "image"),
    ({"image": "x" * 256}, "image"),
    ({"preemptible": "yes please"}, "preemptible"),
    ({"objective": "glory"}, "objective"),
]


@pytest.mark.parametrize("door", [JOBS, f"{JOBS}:plan", f"{PROJECT}/files:put"])
def test_a_job_document_is_checked_field_by_field_wherever_it_is_read(there: Lab, door: str) -> None:
    """The same faults at submission, at planning, and where its files are put."""
    for changes, field in JOB_FAULTS:
        document = {"name": "a", "command": ["true"], **changes}
        is_put = door.endswith("files:put")
        if is_put and "files" in changes:
            continue
        answer = refuse(there, door, {"region": "fr-bru-1", "job": document} if is_put else document)
        found = answer["errors"][0]["field"].removeprefix("job.")
        assert found.startswith(field), (changes, found)
        assert answer["errors"][0]["message"]


class TestWorlds:
    """`admin:apply` takes all documents or none."""

    def _pool(self, lab: Lab, **changes: Any) -> Json:
        pool: Json = lab.one("select document from pool where name = 'fr-bru-1-h100'")
        return {**pool, **changes}

    def _region(self, lab: Lab, **changes: Any) -> Json:
        region: Json = lab.one("select document from region where code = 'fr-bru-1'")
        return {**region, **changes}

    @pytest.mark.parametrize(
        ("document", "field"),
        [
            (3, "documents.1.kind"),
            ({}, "documents.1.kind"),
            ({"kind": "Planet", "name": "x"}, "documents.1.kind"),
            ({"kind": ["Entity"], "name": "x"}, "documents.1.kind"),
            ({"kind": "Entity", "name": "x"}, "documents.1.seat"),
            ({"kind": "Entity", "name": "x", "seat": "UK"}, "documents.1.seat"),
            ({"kind": "Entity", "name": "x", "seat": "fr"}, "documents.1.seat"),
            ({"kind": "Entity", "name": "x", "seat": "FR\n"}, "documents.1.seat"),
            ({"kind": "Entity", "name": "x", "seat": "EU"}, "documents.1.seat"),
            ({"kind": "Entity", "name": "x", "seat": "FR", "presences": ["EL"]}, "documents.1.presences"),
            ({"kind": "Entity", "name": "X", "seat": "FR"}, "documents.1.name"),
            ({"kind": "Entity", "name": "x", "seat": "FR", "colour": 1}, "documents.1.colour"),
            ({"kind": "Entity", "name": "x", "seat": "FR", "owners": [{"owner": "nobody"}]}, "documents"),
            ({"kind": "Entity", "name": "x", "seat": "FR", "owners": [{"owner": "x"}]}, "documents.1"),
            (
                {"kind": "Entity", "name": "x", "seat": "FR", "owners": [{"owner": "ofoten-kraft"}] * 2},
                "documents.1",
            ),
            (
                {
                    "kind": "Entity",
                    "name": "x",
                    "seat": "FR",
                    "owners": [
                        {"owner": "ofoten-kraft", "capital_percent": 60},
                        {"owner": "dalarna-energi", "capital_percent": 60},
                    ],
                },
                "documents.1",
            ),
            (
                {"kind": "Entity", "name": "x", "seat": "FR", "owners": [{"owner": "y", "votes_percent": 101}]},
                "documents.1.owners.0.votes_percent",
            ),
            ({"kind": "ControlPlane", "territory": "ZZ", "operator": "auvergne-calcul"}, "documents.1.territory"),
            ({"kind": "ControlPlane", "territory": "FR", "operator": "nobody"}, "documents"),
            ({"kind": "Project", "name": "x", "organisation": "nobody"}, "documents.1.organisation"),
            ({"kind": "Project", "name": "x", "organisation": "home", "floor": {"a": 1}}, "documents.1.floor.a"),
            ({"kind": "Organisation", "name": "x", "floor": {"process": ["UK"]}}, "documents.1.floor.process.0"),
        ],
    )
    def test_a_faulty_document_leaves_all_as_it_was(self, lab: Lab, document: Any, field: str) -> None:
        """Even what stood before it in the same request."""
        good = {"kind": "Entity", "name": "newcomer", "seat": "PT"}
        with unchanged(lab):
            answer = refuse(lab, "/v1/admin:apply", {"documents": [good, document]})
        assert answer["errors"][0]["field"].startswith(field), answer

    @pytest.mark.parametrize(
        "changes",
        [
            {"region": "xx-yyy-1"},
            {"provider": "nobody"},
            {"nodes": 0},
            {"nodes": 10_001},
            {"gpus_per_node": 33},
            {"memory_mib": 10**12},
            {"cpus": 10**12},
            {"gpu_memory_mib": 10**30},
            {"price_eur_per_gpu_h": -1},
            {"price_eur_per_gpu_h": "NaN"},
            {"facts_valid_until": "soon"},
            {"facts_valid_until": "2027-01-01T00:00:00"},
            {"tenancy": "polygamous"},
            {"enforces": ["law"]},
            {"seal": [1, 2, 3]},
            {"seal": [9] * 8},
            {"certifications": [{"scheme": "hds", "level": "v2", "scope": ["magic"], "valid_until": "2028-01-01"}]},
            {"certifications": [{"scheme": "hds", "level": "v2", "scope": [], "valid_until": "2028-01-01"}]},
            {"certifications": [{"scheme": "none", "level": "v2", "scope": ["compute"], "valid_until": "2028-01-01"}]},
            {"certifications": [{"scheme": "hds", "level": "v99", "scope": ["compute"], "valid_until": "2028-01-01"}]},
            {
                "certifications": [
                    {"scheme": "hds", "level": "v2", "scope": ["compute"], "valid_until": "2028-01-01T00:00:00"}
                ]
            },
        ],
    )
    def test_a_faulty_pool_is_refused_before_anybody_is_judged_by_it(self, lab: Lab, changes: Json) -> None:
        """What the judge could not read would stop every job of every tenant."""
        with unchanged(lab):
            refuse(lab, "/v1/admin:apply", {"documents": [self._pool(lab, name="new-pool", **changes)]})
        assert lab.state(lab.submit()) == "queued"

    @pytest.mark.parametrize(
        "changes",
        [
            {"territory": "UK"},
            {"territory": "SE"},
            {"locode": "frpar"},
            {"locode": "FRPAR\n"},
            {"operator": "nobody"},
            {"host": "nobody"},
            {"pue": 0.5},
            {"evidence": "E9"},
            {"executor": "magic"},
            {"access_territories": ["EU"]},
            {"endpoints": {"store": {"territory": "XX", "operator": "auvergne-calcul"}}},
            {"endpoints": {"store": {"territory": "FR", "operator": "nobody"}}},
            {"endpoints": {"moon": {"territory": "FR", "operator": "auvergne-calcul"}}},
        ],
    )
    def test_a_faulty_region_is_refused(self, lab: Lab, changes: Json) -> None:
        """With document and field."""
        with unchanged(lab):
            answer = refuse(lab, "/v1/admin:apply", {"documents": [self._region(lab, **changes)]})
        assert answer["errors"][0]["field"].startswith("documents")

    def test_a_pool_keeps_its_shape_and_its_place(self, lab: Lab) -> None:
        """Other nodes, or another region, are another pool."""
        for changes in ({"gpus_per_node": 4}, {"region": "se-bor-1"}):
            answer = refuse(lab, "/v1/admin:apply", {"documents": [self._pool(lab, **changes)]}, statuses=(409,))
            assert answer["code"] == "pool_shape"

    def test_two_documents_about_one_thing_are_refused(self, lab: Lab) -> None:
        """Which one was meant?"""
        twice = [{"kind": "Entity", "name": "x", "seat": seat} for seat in ("FR", "SE")]
        answer = refuse(lab, "/v1/admin:apply", {"documents": twice})
        assert answer["errors"][0]["field"] == "documents.1.name"

    def test_owners_in_a_ring_are_judged_and_not_followed_for_ever(self, lab: Lab) -> None:
        """Holding each other is odd, and legal in places."""
        for name in ("ring-a", "ring-b"):
            lab.apply({"kind": "Entity", "name": name, "seat": "FR", "presences": [], "owners": []})
        for name, owner in (("ring-a", "ring-b"), ("ring-b", "ring-a")):
            whole = {"owner": owner, "capital_percent": 100, "votes_percent": 100}
            lab.apply({"kind": "Entity", "name": name, "seat": "FR", "presences": [], "owners": [whole]})
        lab.apply(self._region(lab, operator="ring-b"))
        lab.submit(policy={"forbid_exposure": ["US"]})
        assert lab.cycle().placed == 1

    def test_applying_the_same_again_changes_nothing(self, lab: Lab) -> None:
        """No entry, no step of the epoch."""
        before = lab.dump()
        results = lab.apply(self._pool(lab), self._region(lab))["results"]
        assert [one["action"] for one in results] == ["unchanged", "unchanged"]
        assert lab.dump() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"offers_tenancy": ["polygamous"]},
        {"offers_tenancy": []},
        {"offers_tenancy": "single"},
        {"gateway_url": "not a url"},
        {"gateway_url": "javascript:alert(1)"},
        {"gateway_url": "http://user:pw@host/"},
        {"broker_url": "http://127.0.0.1/"},
        {"gateway_url": None},
    ],
)
def test_a_region_joins_with_what_others_can_use(lab: Lab, changes: Json) -> None:
    """What it offers is judged, and where it is reached is told to tenants."""
    body = {**DOORS["/v1/regions/fr-bru-1:join"], **changes}
    with unchanged(lab):
        refuse(lab, "/v1/regions/fr-bru-1:join", body)
    assert lab.state(lab.submit()) == "queued"


def test_an_unknown_region_cannot_join(lab: Lab) -> None:
    """404, and the epoch stands."""
    with unchanged(lab):
        refuse(lab, "/v1/regions/xx-yyy-1:join", DOORS["/v1/regions/fr-bru-1:join"], statuses=(404,))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "emperor"}, "role"),
        ({"role": ["admin"]}, "role"),
        ({}, "role"),
        ({"role": "viewer", "territory": "UK"}, "territory"),
        ({"role": "viewer", "territory": "EU"}, "territory"),
        ({"role": "viewer", "territory": 33}, "territory"),
        ({"role": "viewer", "expires_in_s": 0}, "expires_in_s"),
        ({"role": "viewer", "expires_in_s": True}, "expires_in_s"),
        ({"role": "viewer", "expires_in_s": 1e30}, "expires_in_s"),
        ({"role": "viewer", "secret": "chosen"}, "secret"),
    ],
)
def test_a_key_is_made_of_what_there_is(lab: Lab, body: Json, field: str) -> None:
    """Roles, territories and times that exist."""
    with unchanged(lab):
        assert refuse(lab, "/v1/organisations/home/keys", body)["errors"][0]["field"].startswith(field)


def test_a_key_for_a_project_or_an_organisation_that_is_not_there_is_not_found(lab: Lab) -> None:
    """Whoever asks."""
    for body in ({"role": "viewer", "project": "absent"}, {"role": "viewer", "project": 3}):
        refuse(lab, "/v1/organisations/home/keys", body, statuses=(404,))
    refuse(lab, "/v1/organisations/absent/keys", {"role": "viewer"}, statuses=(404,))


def test_a_name_that_is_taken_conflicts(lab: Lab) -> None:
    """Unless it says the same."""
    lab.admin("POST", "/v1/organisations", {"name": "twin"}, expect=201)
    assert refuse(lab, "/v1/organisations", {"name": "twin"}, statuses=(409,))["code"] == "organisation_exists"
    assert refuse(lab, "/v1/projects", {"name": "default"}, statuses=(409,))["code"] == "project_exists"
    body = {"name": "data", "policy": {"residency": ["FR"]}}
    first = lab.admin("POST", f"{PROJECT}/datasets", body, expect=201).json()
    assert lab.admin("POST", f"{PROJECT}/datasets", body, expect=201).json() == first
    other = refuse(lab, f"{PROJECT}/datasets", {"name": "data", "policy": {}}, statuses=(409,))
    assert other["code"] == "dataset_exists"


def test_names_that_an_owner_chooses_never_become_somebody_elses_id(lab: Lab) -> None:
    """An id is looked up as an id, even where a name stands."""
    job = lab.submit(name="job-01")
    for name in (job, job.upper(), "prj_00000000000000000000000000"):
        body = {"name": name, "command": ["true"]}
        assert refuse(lab, JOBS, body)["errors"][0]["field"] == "name"


def test_a_manifest_of_20_001_files_is_refused(lab: Lab) -> None:
    """An archive serves better."""
    [file] = manifest(a="1")["files"]
    files = {"files": [{**file, "path": str(number)} for number in range(20_001)]}
    headers = {"Authorization": f"Bearer {lab.credentials['fr-bru-1']}"}
    body = json.dumps({"upload_id": "upl_x", "manifest": files})
    response = lab.client.post("/worker/v1/uploads:commit", content=body, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "manifest.files")
