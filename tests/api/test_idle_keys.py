"""Where an idempotency key would not count it is refused, and keys that were made twice are found and revoked."""

from __future__ import annotations

import json

from support.command_line import Nordan
from support.lab import JOBS, Lab
from support.routes import routes_of

KEYS = "/v1/organisations/home/keys"
#: As `docs/reference/rest.md` says.
COUNTS = {"POST /v1/projects/{project}/jobs", "POST /v1/projects/{project}/jobs:batchCreate"}


def test_every_other_post_refuses_a_key_and_does_nothing(lab: Lab) -> None:
    """Before it is looked at what is asked for; the two that take one say what their bodies lack."""
    taken = set()
    for route, path in posts(lab):
        key = lab.credentials["fr-bru-1"] if path.startswith("/worker/") else lab.admin_key
        answer = lab.call("POST", path, {}, key=key, Idempotency_Key="k", expect=422).json()
        if answer["errors"][0]["field"] != "Idempotency-Key":
            taken.add(route)
    assert len(posts(lab)) > len(COUNTS)
    assert taken == COUNTS


def test_who_asks_comes_first(lab: Lab) -> None:
    """A key that is wrong, or may not do this, is told so whatever stands in the other header."""
    for _, path in posts(lab):
        lab.call("POST", path, {}, key="nk_wrong", Idempotency_Key="k", expect=401)
    viewer = lab.key("home", "viewer")
    lab.call("POST", KEYS, {"role": "viewer"}, key=viewer, Idempotency_Key="k", expect=403)


def posts(lab: Lab) -> list[tuple[str, str]]:
    """Return every route that takes a POST, with a path to it."""
    routes = [route for route in routes_of(lab.app) if route.startswith("POST ")]
    paths = [route.removeprefix("POST ").replace("{project}", "default") for route in routes]
    return list(zip(routes, (path.replace("{", "").replace("}", "") for path in paths), strict=True))


def test_what_only_reads_takes_no_notice(lab: Lab) -> None:
    """And so what clients set for all their requests does no harm there."""
    lab.admin("GET", JOBS, Idempotency_Key="k", expect=200)


def test_a_key_whose_answer_was_lost_is_found_and_revoked_by_an_owner(lab: Lab) -> None:
    """Listed without its secret; gone from the list once it is worthless."""
    owner = lab.key("home", "owner", territory="FR")
    lost = lab.call("POST", KEYS, {"role": "viewer", "expires_in_s": 60}, key=owner, expect=201).json()
    listed = lab.call("GET", KEYS, key=owner, expect=200)
    [found] = [one for one in listed.json()["items"] if one["id"] == lost["id"]]
    me = lab.call("GET", "/v1/me", key=owner).json()["key"]
    assert (found["role"], found["made_by"], found["territory"], found["project"]) == ("viewer", me, None, None)
    assert found["expires_at"] > found["created_at"]
    for secret in (lost["key"], owner, lab.admin_key):
        assert secret not in listed.text
        assert secret.removeprefix("nk_") not in listed.text
    lab.call("DELETE", f"{KEYS}/{lost['id']}", key=owner, expect=204)
    assert lost["id"] not in {one["id"] for one in lab.call("GET", KEYS, key=owner).json()["items"]}


def test_a_key_of_one_project_lists_those_of_that_project(lab: Lab) -> None:
    """What it could not revoke it does not see; another tenant's organisation is not there."""
    bound = lab.key("home", "owner", project="default")
    lab.key("home", "viewer")
    items = lab.call("GET", KEYS, key=bound, expect=200).json()["items"]
    assert [one["id"] for one in items] == [lab.call("GET", "/v1/me", key=bound).json()["key"]]
    lab.admin("POST", "/v1/organisations", {"name": "rival"}, expect=201)
    lab.call("GET", KEYS, key=lab.key("rival", "owner"), expect=404)


def test_the_command_line_lists_keys(lab: Lab, nordan: Nordan) -> None:
    """As a table and as a document."""
    lab.key("home", "submitter", territory="SE")
    shown = nordan("admin", "keys", "list", "home")
    assert (shown.code, "submitter" in shown.out, "SE" in shown.out) == (0, True, True)
    items = json.loads(nordan("admin", "keys", "list", "home", "-o", "json").out)["items"]
    assert [one["role"] for one in items] == ["admin", "submitter"]
