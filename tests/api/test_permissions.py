"""Every route with every role: one table, and the app is held to it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from nordan_api.auth.callers import region_caller
from nordan_api.auth.permissions import Permission, may
from nordan_core.domain.tenants import Role
from support.lab import JOBS, Lab
from support.routes import walk

P = "/v1/projects/{project}"
#: Open to anybody: they say that the process lives, and what the interface looks like.
OPEN = {"GET /healthz", "GET /readyz", "GET /openapi.json"}
#: Opened by a region's credential, and by no API key.
REGION = {
    "POST /worker/v1/grants:redeem",
    "POST /worker/v1/sync",
    "POST /worker/v1/artifacts",
    "POST /worker/v1/uploads:commit",
    "POST /worker/v1/uploads:source",
    "GET /worker/v1/keys",
}
TABLE = {
    f"POST {P}/jobs": Permission.SUBMIT,
    f"POST {P}/jobs:batchCreate": Permission.SUBMIT,
    f"POST {P}/jobs:plan": Permission.READ_JOBS,
    f"GET {P}/jobs": Permission.READ_JOBS,
    f"GET {P}/jobs/{{job}}": Permission.READ_JOBS,
    f"GET {P}/jobs/{{job}}/attempts": Permission.READ_JOBS,
    f"GET {P}/jobs/{{job}}/artifacts": Permission.READ_JOBS,
    f"GET {P}/jobs/{{job}}/usage": Permission.READ_JOBS,
    f"GET {P}/jobs/{{job}}/certificate": Permission.READ_JOBS,
    f"POST {P}/jobs/{{job}}:cancel": Permission.SUBMIT,
    f"POST {P}/jobs/{{job}}:retry": Permission.SUBMIT,
    f"GET {P}/jobs/{{job}}/logs": Permission.READ_CONTENT,
    f"POST {P}/jobs/{{job}}:connect": Permission.READ_CONTENT,
    f"POST {P}/jobs/{{job}}:exec": Permission.EXEC,
    f"POST {P}/datasets": Permission.PUT_DATA,
    f"GET {P}/datasets": Permission.READ_JOBS,
    f"GET {P}/datasets/{{dataset}}": Permission.READ_JOBS,
    f"POST {P}/datasets/{{dataset}}:put": Permission.PUT_DATA,
    f"POST {P}/files:put": Permission.PUT_DATA,
    f"GET {P}/artifacts/{{artifact}}": Permission.READ_JOBS,
    f"POST {P}/artifacts/{{artifact}}:read": Permission.READ_CONTENT,
    f"POST {P}/artifacts/{{artifact}}:copy": Permission.COPY_DATA,
    "GET /v1/atlas": Permission.LOOK,
    "GET /v1/atlas/{digest}": Permission.LOOK,
    "POST /v1/atlas:diff": Permission.MANAGE_PLATFORM,
    "POST /v1/atlas:apply": Permission.MANAGE_PLATFORM,
    f"POST {P}/derogations": Permission.REQUEST_WIDENING,
    f"GET {P}/derogations": Permission.READ_JOBS,
    f"GET {P}/derogations/{{derogation}}": Permission.READ_JOBS,
    f"POST {P}/derogations/{{derogation}}:approve": Permission.APPROVE_WIDENING,
    f"POST {P}/derogations/{{derogation}}:withdraw": Permission.APPROVE_WIDENING,
    f"POST {P}/derogations/{{derogation}}:revoke": Permission.APPROVE_WIDENING,
    f"GET {P}/datasets/{{dataset}}/lineage": Permission.READ_JOBS,
    f"GET {P}/datasets/{{dataset}}/where": Permission.READ_JOBS,
    f"GET {P}/artifacts/{{artifact}}/lineage": Permission.READ_JOBS,
    f"GET {P}/artifacts/{{artifact}}/where": Permission.READ_JOBS,
    f"POST {P}/artifacts/{{artifact}}:declassify": Permission.REQUEST_WIDENING,
    f"GET {P}/declassifications": Permission.READ_JOBS,
    f"GET {P}/declassifications/{{declassification}}": Permission.READ_JOBS,
    f"POST {P}/declassifications/{{declassification}}:approve": Permission.APPROVE_WIDENING,
    f"POST {P}/declassifications/{{declassification}}:withdraw": Permission.APPROVE_WIDENING,
    f"POST {P}/declassifications/{{declassification}}:revoke": Permission.APPROVE_WIDENING,
    "GET /v1/me": Permission.LOOK,
    "POST /v1/organisations": Permission.MANAGE_PLATFORM,
    "GET /v1/organisations": Permission.MANAGE_PLATFORM,
    "POST /v1/organisations/{organisation}/keys": Permission.MANAGE_KEYS,
    "GET /v1/organisations/{organisation}/keys": Permission.MANAGE_KEYS,
    "DELETE /v1/organisations/{organisation}/keys/{key}": Permission.MANAGE_KEYS,
    "POST /v1/projects": Permission.MANAGE_PROJECTS,
    "GET /v1/projects": Permission.LOOK,
    "GET /v1/projects/{project}": Permission.LOOK,
    "GET /v1/projects/{project}/policies": Permission.READ_JOBS,
    "POST /v1/admin:apply": Permission.MANAGE_PLATFORM,
    "POST /v1/regions/{code}:join": Permission.MANAGE_PLATFORM,
    "GET /v1/regions": Permission.LOOK,
    "GET /v1/pools": Permission.LOOK,
    "GET /v1/nodes": Permission.MANAGE_PLATFORM,
    "POST /v1/pools/{pool}:{verb}": Permission.MANAGE_PLATFORM,
    "POST /v1/pools/{pool}/nodes/{node}:{verb}": Permission.MANAGE_PLATFORM,
    "GET /v1/keys": Permission.LOOK,
    "GET /v1/cell": Permission.LOOK,
    "GET /v1/audit/checkpoint": Permission.LOOK,
    "GET /v1/audit/consistency": Permission.LOOK,
    "GET /v1/audit/checkpoints": Permission.READ_AUDIT,
    "GET /v1/audit/entries": Permission.READ_AUDIT,
}
IN_PROJECT = [route for route in TABLE if "{project}" in route]


def _ask(lab: Lab, route: str, key: str | None, project: str = "default") -> tuple[int, str]:
    method, template = route.split(" ")
    path = template.replace("{project}", project).replace("{organisation}", "home").replace("{verb}", "drain")
    for name in ("job", "dataset", "artifact", "derogation", "declassification", "key", "code", "pool", "node"):
        path = path.replace(f"{{{name}}}", "absent")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    response = lab.client.request(method, path, headers=headers, follow_redirects=False, **body)
    code = response.json().get("code", "") if response.content else ""
    return response.status_code, str(code)


def _calls(dependant: Dependant) -> list[Any]:
    return [dependant.call, *(call for one in dependant.dependencies for call in _calls(one))]


def _guard(route: Any) -> object:
    """Return what a route asks of its caller: a permission, the region's credential, or nothing."""
    if not isinstance(route, APIRoute):
        return None
    calls = _calls(route.dependant)
    named = [call.permission for call in calls if hasattr(call, "permission")]
    assert len(named) <= 1, route.path
    return named[0] if named else (region_caller if region_caller in calls else None)


def test_every_route_of_the_app_stands_in_the_table_with_what_it_asks(lab: Lab) -> None:
    """A new route without a line here, or one that asks for something else, fails this test."""
    guards = {
        f"{method} {route.path}": _guard(route)
        for route in walk(lab.app.routes)
        for method in sorted(route.methods - {"HEAD"})
    }
    expected = {**dict.fromkeys(OPEN), **dict.fromkeys(REGION, region_caller), **TABLE}
    assert guards == expected


@pytest.mark.parametrize("role", Role)
def test_each_role_may_call_exactly_what_the_table_of_permissions_says(lab: Lab, role: Role) -> None:
    """A role without the permission gets 403 whatever it sends; one with it is judged on what it asks for."""
    key = lab.key("home", role)
    for route, permission in TABLE.items():
        status, code = _ask(lab, route, key)
        if may(role, permission):
            assert status not in {401, 403, 500}, (route, status, code)
        else:
            assert (status, code) == (403, "forbidden"), route


def test_roles_are_nested(lab: Lab) -> None:
    """Each role may do all that the one below it may."""
    ladder = [Role.VIEWER, Role.SUBMITTER, Role.OWNER, Role.ADMIN]
    held = [{one for one in Permission if may(role, one)} for role in ladder]
    assert all(below < above for below, above in pairwise(held))
    assert held[-1] == set(Permission)


def test_every_route_but_the_open_ones_wants_a_credential(lab: Lab) -> None:
    """No key, a malformed one, a foreign one, a region's one: 401 with the same code, and what to send."""
    region = lab.credentials["fr-bru-1"]
    for route in TABLE:
        for key in (None, "nk_unknown", region):
            assert _ask(lab, route, key) == (401, "unauthenticated"), (route, key)
    for route in REGION:
        for key in (None, lab.admin_key, "nr_unknown"):
            assert _ask(lab, route, key) == (401, "unauthenticated"), (route, key)
    for route in OPEN:
        method, path = route.split(" ")
        assert lab.client.request(method, path).status_code == 200, route


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "nk_x", "Bearer \u00fc"])
def test_a_malformed_credential_is_no_credential(lab: Lab, header: str) -> None:
    """The answer says what to send, and how."""
    response = lab.client.get("/v1/me", headers={b"Authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


def test_an_expired_key_opens_nothing(lab: Lab) -> None:
    """From the second on in which it ends, cached or not."""
    key = lab.key("home", "admin", expires_in_s=60)
    assert _ask(lab, "GET /v1/me", key)[0] == 200
    lab.clock.advance(60)
    for route in TABLE:
        assert _ask(lab, route, key) == (401, "unauthenticated"), route


def test_a_revoked_key_opens_nothing_two_seconds_later(lab: Lab) -> None:
    """Longer than the look-ups are kept, no route lets it in."""
    made = lab.admin("POST", "/v1/organisations/home/keys", {"role": "admin"}, expect=201).json()
    assert _ask(lab, "GET /v1/me", made["key"])[0] == 200
    lab.admin("DELETE", f"/v1/organisations/home/keys/{made['id']}", expect=204)
    lab.clock.advance(2)
    for route in TABLE:
        assert _ask(lab, route, made["key"]) == (401, "unauthenticated"), route
    again = lab.admin("DELETE", f"/v1/organisations/home/keys/{made['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SUBMITTER, Role.OWNER])
def test_another_organisations_project_is_answered_as_one_that_is_absent(lab: Lab, role: Role) -> None:
    """By the same code path: neither status nor code tells that it exists."""
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    stranger = lab.key("other", role)
    home = lab.admin("GET", "/v1/projects/default").json()["id"]
    for route in IN_PROJECT:
        absent = _ask(lab, route, stranger, "nowhere")
        assert _ask(lab, route, stranger, "default") == absent, route
        assert _ask(lab, route, stranger, home) == absent, route
        assert absent in {(404, "not_found"), (422, "invalid"), (403, "forbidden")}, route
    for path in ("/v1/organisations/home/keys",):
        answer = lab.call("POST", path, {"role": "viewer"}, key=stranger)
        assert answer.status_code == (404 if role is Role.OWNER else 403)
    assert lab.call("GET", "/v1/projects", key=stranger).json()["items"] == []


def test_a_project_of_that_name_in_ones_own_organisation_is_ones_own(lab: Lab) -> None:
    """Names are looked up inside the caller's organisation."""
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    lab.submit()
    owner = lab.key("other", "owner")
    lab.call("POST", "/v1/projects", {"name": "default"}, key=owner, expect=201)
    assert lab.call("GET", JOBS, key=owner, expect=200).json()["items"] == []


def test_a_key_of_one_project_sees_no_other_project(lab: Lab) -> None:
    """Neither by name nor by id, nor in the list."""
    lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
    key = lab.key("home", "owner", project="second")
    home = lab.admin("GET", "/v1/projects/default").json()["id"]
    for route in IN_PROJECT:
        absent = _ask(lab, route, key, "nowhere")
        assert _ask(lab, route, key, "default") == absent == _ask(lab, route, key, home), route
    listed = lab.call("GET", "/v1/projects", key=key, expect=200).json()["items"]
    assert [one["name"] for one in listed] == ["second"]
    assert _ask(lab, f"GET {P}/jobs", key, "second")[0] == 200


class TestKeysMakeNoGreaterKeys:
    """What a key makes can do no more than the key itself, whoever asks."""

    @pytest.mark.parametrize(("role", "wanted"), [("owner", "admin"), ("admin", "admin"), ("owner", "owner")])
    def test_a_role_above_ones_own_is_forbidden(self, lab: Lab, role: str, wanted: str) -> None:
        """And nothing is made."""
        key = lab.key("home", role)
        before = lab.one("select count(*) from api_key")
        answer = lab.call("POST", "/v1/organisations/home/keys", {"role": wanted}, key=key)
        is_allowed = (role, wanted) != ("owner", "admin")
        assert answer.status_code == (201 if is_allowed else 403)
        assert lab.one("select count(*) from api_key") == before + is_allowed

    def test_a_key_of_one_project_makes_keys_of_that_project_only(self, lab: Lab) -> None:
        """Without a project the new key gets the maker's; another project is not there for it."""
        lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
        key = lab.key("home", "owner", project="second")
        path = "/v1/organisations/home/keys"
        lab.call("POST", path, {"role": "owner", "project": "default"}, key=key, expect=404)
        made = lab.call("POST", path, {"role": "owner"}, key=key, expect=201).json()["key"]
        second = lab.admin("GET", "/v1/projects/second").json()["id"]
        assert lab.call("GET", "/v1/me", key=made).json()["project"] == second

    def test_a_key_of_one_project_adds_no_project(self, lab: Lab) -> None:
        """It would have made something that it may not see."""
        key = lab.key("home", "owner", project="default")
        answer = lab.call("POST", "/v1/projects", {"name": "third"}, key=key, expect=403).json()
        assert answer["code"] == "forbidden"

    def test_a_platform_key_is_bound_to_no_project(self, lab: Lab) -> None:
        """Its permissions are about the whole platform; a bound one would only look narrow."""
        body = {"role": "admin", "project": "default"}
        answer = lab.admin("POST", "/v1/organisations/home/keys", body, expect=422).json()
        assert answer["errors"][0]["field"] == "project"

    def test_an_owner_cannot_revoke_a_platform_key(self, lab: Lab) -> None:
        """Nor can a key of one project revoke one of another."""
        admin = lab.admin("GET", "/v1/me").json()["key"]
        owner = lab.key("home", "owner")
        lab.call("DELETE", f"/v1/organisations/home/keys/{admin}", key=owner, expect=403)
        lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
        bound = lab.key("home", "owner", project="second")
        other = lab.call("GET", "/v1/me", key=owner).json()["key"]
        lab.call("DELETE", f"/v1/organisations/home/keys/{other}", key=bound, expect=404)
        assert lab.call("GET", "/v1/me", key=owner).status_code == 200
