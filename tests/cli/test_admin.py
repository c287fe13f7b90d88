"""admin, regions, offers, usage and connect: bodies as the api takes them, tables as people read them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from support.command_line import Nordan
from support.fake_rest import FakeRest, access, job, problem

ID = "job_00000000000000000000000abc"


def test_a_world_is_applied_in_one_request(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    results = [
        {"kind": "Entity", "name": "a", "action": "created"},
        {"kind": "Region", "name": "no-nar-1", "action": "unchanged"},
    ]
    rest.on("POST /v1/admin:apply", {"results": results})
    (tmp_path / "world.yaml").write_text(
        "kind: Entity\nname: a\nseat: NO\n---\nkind: Region\nname: no-nar-1\nuntil: 2027-12-31\n"
    )
    ended = nordan("admin", "apply", "-f", str(tmp_path / "world.yaml"))
    assert ended.out.splitlines() == [
        "KIND    NAME",
        "Entity  a         created",
        "Region  no-nar-1  unchanged",
    ]
    assert rest.bodies("POST /v1/admin:apply") == [
        {
            "documents": [
                {"kind": "Entity", "name": "a", "seat": "NO"},
                {"kind": "Region", "name": "no-nar-1", "until": "2027-12-31"},
            ]
        }
    ]


def test_a_world_with_a_fault_is_not_sent(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    (tmp_path / "world.yaml").write_text("kind: Entity\n---\nname: a\nname: b\n")
    ended = nordan("admin", "apply", "-f", str(tmp_path / "world.yaml"))
    assert ended.code == 2
    assert "world.yaml:4:1: the key 'name' is given twice" in ended.err
    assert not rest.requests


def test_projects_and_organisations_are_made_with_their_floors(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    (tmp_path / "floor.yaml").write_text("process: [SE]\nclass: confidential\n")
    rest.on("POST /v1/projects", {"id": "prj_1", "name": "lab"}).on(
        "POST /v1/organisations", {"id": "o", "name": "acme"}
    )
    floor = ["--floor", str(tmp_path / "floor.yaml")]
    assert nordan("admin", "projects", "create", "lab", "--organisation", "acme", *floor).out == "lab prj_1\n"
    assert nordan("admin", "organisations", "create", "acme").out == "acme o\n"
    stated = {"process": ["SE"], "class": "confidential"}
    assert rest.bodies("POST /v1/projects") == [{"name": "lab", "organisation": "acme", "floor": stated}]
    assert rest.bodies("POST /v1/organisations") == [{"name": "acme"}]


def test_projects_are_listed(nordan: Nordan, rest: FakeRest) -> None:
    one = {"id": "prj_1", "name": "lab", "organisation": "acme", "created_at": "2026-10-31T00:00:00+00:00"}
    rest.on("GET /v1/projects", {"items": [one]})
    assert nordan("admin", "projects", "list").out.splitlines() == [
        "NAME  ID     ORGANISATION  AGE",
        "lab   prj_1  acme          1d ago",
    ]


def test_a_key_is_shown_once_and_apart_from_the_note(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("POST /v1/organisations/acme/keys", {"id": "key_1", "key": "nk_secret"})
    words = "--role submitter --project lab --territory FR --expires-in 90d"
    ended = nordan("admin", "keys", "create", "acme", *words.split())
    assert ended.out == "id   key_1\nkey  nk_secret\n"
    assert "nk_secret" not in ended.err
    body = {"role": "submitter", "project": "lab", "territory": "FR", "expires_in_s": 7776000.0}
    assert rest.bodies("POST /v1/organisations/acme/keys") == [body]


def test_a_role_that_does_not_exist_is_an_error_of_use(nordan: Nordan, rest: FakeRest) -> None:
    assert nordan("admin", "keys", "create", "acme", "--role", "king").code == 2
    assert not rest.requests


def test_a_key_is_revoked(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("DELETE /v1/organisations/acme/keys/key_1", httpx.Response(204))
    assert nordan("admin", "keys", "revoke", "acme", "key_1").out == "key_1 revoked\n"


@pytest.mark.parametrize("kind", ["derogations", "declassifications"])
def test_what_may_be_taken_back_twice_is_asked_again(nordan: Nordan, rest: FakeRest, kind: str) -> None:
    rest.on(f"POST /v1/projects/lab/{kind}/x:revoke", httpx.ReadError("reset"), problem(404, "not_found", "no such"))
    assert "no such" in nordan("admin", kind, "revoke", "x", "--project", "lab").err
    assert len(rest.requests) == 2


REGION = {
    "code": "fr-bru-1",
    "territory": "FR",
    "operator": "auvergne-calcul",
    "executor": "local",
    "seen_at": "2026-10-31T23:59:58+00:00",
}


@pytest.mark.parametrize("words", [["regions"], ["admin", "regions"], ["admin", "regions", "list"]])
def test_regions_are_listed(nordan: Nordan, rest: FakeRest, words: list[str]) -> None:
    rest.on("GET /v1/regions", {"items": [REGION, {**REGION, "code": "new-1", "seen_at": None}]})
    assert nordan(*words).out.splitlines() == [
        "REGION    TERRITORY  OPERATOR         EXECUTOR  SEEN",
        "fr-bru-1  FR         auvergne-calcul  local     2s ago",
        "new-1     FR         auvergne-calcul  local",
    ]
    assert json.loads(nordan(*words, "-o", "json").out)["items"][0] == REGION


def test_joining_reads_the_brokers_password_from_a_file_and_writes_a_secret(
    nordan: Nordan, rest: FakeRest, tmp_path: Path
) -> None:
    rest.on("POST /v1/regions/fr-bru-1:join", {"region": "fr-bru-1", "credential": "nr_secret"})
    (tmp_path / "broker").write_text("redis://u:p@127.0.0.1:6379/0\n")
    out = tmp_path / "join.json"
    out.write_text("older")
    out.chmod(0o644)
    words = f"--gateway-url https://gw --broker-url-file {tmp_path / 'broker'} --tenancy single --out {out}"
    ended = nordan("admin", "regions", "join", "fr-bru-1", *words.split())
    assert ended.code == 0
    assert "nr_secret" not in ended.out + ended.err
    assert json.loads(out.read_text())["credential"] == "nr_secret"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    body = {"gateway_url": "https://gw", "broker_url": "redis://u:p@127.0.0.1:6379/0", "offers_tenancy": ["single"]}
    assert rest.bodies("POST /v1/regions/fr-bru-1:join") == [body]


def test_offers_are_listed_the_cheapest_first(nordan: Nordan, rest: FakeRest) -> None:
    pool = {"region": "fr-bru-1", "provider": "auvergne", "gpus_per_node": 8, "nodes": 4, "gpus_free": 32}
    dear = {**pool, "name": "b200", "accelerator": "B200", "price_eur_per_gpu_h": "4.6000"}
    fair = {**pool, "name": "h100", "accelerator": "H100", "price_eur_per_gpu_h": "2.4500", "has_made_up_gpus": True}
    rest.on("GET /v1/pools", {"items": [dear, fair]})
    assert nordan("offers").out.splitlines() == [
        "POOL  REGION    PROVIDER  GPU   NODES          FREE  EUR/GPU-H",
        "h100  fr-bru-1  auvergne  H100  4 x 8 made up  32    2.45",
        "b200  fr-bru-1  auvergne  B200  4 x 8          32    4.60",
    ]
    assert [one["name"] for one in json.loads(nordan("offers", "--gpu", "B200", "-o", "json").out)["items"]] == ["b200"]


def test_nodes_are_listed_by_pool(nordan: Nordan, rest: FakeRest) -> None:
    nodes = [{"name": f"{pool}-1", "pool": pool, "state": "ready", "gpus": 8, "gpus_free": 3} for pool in ("a", "b")]
    rest.on("GET /v1/nodes", {"items": nodes})
    assert nordan("admin", "nodes", "--pool", "a").out.splitlines() == [
        "NODE  POOL  STATE  GPUS  FREE  REASON",
        "a-1   a     ready  8     3",
    ]


def test_nodes_say_why_they_take_no_work_and_what_others_use(nordan: Nordan, rest: FakeRest) -> None:
    node = {"pool": "a", "gpus": 8, "gpus_free": 3}
    nodes = [
        {**node, "name": "n1", "state": "cordoned", "reason": "unschedulable", "foreign": {"gpus": 2, "cpus": 1.5}},
        {**node, "name": "n2", "state": "ready", "foreign": None},
    ]
    rest.on("GET /v1/nodes", {"items": nodes})
    assert nordan("admin", "nodes").out.splitlines() == [
        "NODE  POOL  STATE     GPUS  FREE  FOREIGN  REASON",
        "n1    a     cordoned  8     3     2        unschedulable",
        "n2    a     ready     8     3     0",
    ]


@pytest.fixture
def two_clusters(rest: FakeRest) -> FakeRest:
    """Two pools with a node of one name, and one node that only one of them has."""
    rest.on("GET /v1/pools", {"items": [{"name": "a", "region": "x"}, {"name": "b", "region": "y"}]})
    places = (("a", "n1"), ("b", "n1"), ("b", "n2"))
    return rest.on(
        "GET /v1/nodes", {"items": [{"pool": pool, "name": name, "state": "ready"} for pool, name in places]}
    )


@pytest.mark.parametrize(
    ("words", "route", "body", "told"),
    [
        (["drain", "n2"], "POST /v1/pools/b/nodes/n2:drain", {"reason": ""}, "node n2 of b: draining"),
        (["drain", "a/n1", "--stop", "1m"], "POST /v1/pools/a/nodes/n1:drain", {"reason": "", "grace_s": 60.0}, "node"),
        (
            ["cordon", "b", "--reason", "new fans"],
            "POST /v1/pools/b:cordon",
            {"reason": "new fans"},
            "pool b: cordoned",
        ),
        (["uncordon", "b"], "POST /v1/pools/b:uncordon", {}, "pool b: takes work"),
    ],
)
def test_nodes_and_pools_are_held_back_and_let_go(
    nordan: Nordan, two_clusters: FakeRest, words: list[str], route: str, body: dict[str, object], told: str
) -> None:
    """By the node's name where that is enough."""
    pool, _, node = route.split("/v1/pools/")[1].split(":", maxsplit=1)[0].partition("/nodes/")
    hold = {"drain": "draining", "cordon": "cordoned", "uncordon": ""}[words[0]]
    two_clusters.on(route, {"pool": pool, "node": node or None, "hold": hold, "attempts": 3})
    ended = nordan("admin", *words)
    assert (ended.code, ended.out.startswith(told), "3 attempts run there" in ended.out) == (0, True, True), ended
    assert two_clusters.bodies(route) == [body]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("n1", "'n1' is a node of several pools; say a/n1 or b/n1"),
        ("n9", "no pool and no node has the name 'n9'; nordan admin nodes lists them"),
    ],
)
def test_a_node_that_cannot_be_told_from_others_is_not_drained(
    nordan: Nordan, two_clusters: FakeRest, target: str, told: str
) -> None:
    """Nor is one that is not there."""
    ended = nordan("admin", "drain", target)
    assert (ended.code, ended.err) == (2, f"error: {told}\n")


@pytest.mark.parametrize("words", [["admin", "pools"], ["admin", "pools", "list"]])
def test_pools_are_listed(nordan: Nordan, rest: FakeRest, words: list[str]) -> None:
    rest.on("GET /v1/pools", {"items": [{"name": "h100", "region": "fr-bru-1"}]})
    assert "h100" in nordan(*words).out


def test_the_audit_log_is_read_page_by_page(nordan: Nordan, rest: FakeRest) -> None:
    entry = {"id": "ent_1", "act": "grant", "subject": ID, "actor": "scheduler", "at": "2026-11-01T00:00:00+00:00"}
    rest.on("GET /v1/audit/entries", {"items": [{**entry, "index": 0}], "next_after": 0})
    rest.on("GET /v1/audit/entries", {"items": [{**entry, "index": 1}], "next_after": None})
    ended = nordan("admin", "audit")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["INDEX", "0", "1"]
    assert [request.url.params["after"] for request in rest.requests] == ["-1", "0"]


def test_the_logs_head_is_printed_as_it_is(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("GET /v1/audit/checkpoint", {"size": 3, "root": "ab"})
    assert json.loads(nordan("admin", "audit", "--checkpoint").out) == {"size": 3, "root": "ab"}


def _line(number: int, cost: str) -> dict[str, object]:
    place = {"pool": "fr-bru-1-h100", "region": "fr-bru-1", "gpus": 16, "price_eur_per_gpu_h": "2.4500"}
    return {"attempt": f"att_{number}", "number": number, **place, "gpu_seconds": 1800.0, "cost_eur": cost}


def test_a_jobs_usage_is_told_by_attempt(nordan: Nordan, rest: FakeRest) -> None:
    used = {"job": ID, "items": [_line(1, "1.225000"), _line(2, "0.612500")], "cost_eur": "1.837500"}
    rest.on(f"GET /v1/projects/default/jobs/{ID}/usage", used)
    assert nordan("usage", ID).out.splitlines() == [
        "ATTEMPT  POOL           GPUS  GPU-TIME  EUR/GPU-H  ENERGY  COST",
        "1        fr-bru-1-h100  16    0.50 h    2.45               1.23 EUR",
        "2        fr-bru-1-h100  16    0.50 h    2.45               0.6125 EUR",
        "total                         1.00 h                       1.84 EUR",
    ]
    assert json.loads(nordan("usage", ID, "-o", "json").out) == used


def test_a_projects_usage_is_told_by_job(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("GET /v1/projects/default/jobs", {"items": [job("succeeded")]})
    rest.on(f"GET /v1/projects/default/jobs/{ID}/usage", {"items": [_line(1, "1.225000")], "cost_eur": "1.225000"})
    assert nordan("usage").out.splitlines()[1:] == [
        f"digits  {ID}  succeeded  0.50 h    1.23 EUR",
        "total                                              0.50 h    1.23 EUR",
    ]


@pytest.fixture
def service(rest: FakeRest) -> FakeRest:
    """An inference job that answers."""
    return rest.on(f"POST /v1/projects/default/jobs/{ID}:connect", access(url=f"http://gw/v1/services/{ID}/"))


def test_a_service_is_reached_with_url_and_token(nordan: Nordan, service: FakeRest) -> None:
    assert nordan("connect", ID).out.splitlines() == [
        f"url      http://gw/v1/services/{ID}/",
        "token    pass-1",
        "expires  in 1h",
    ]
    assert (
        nordan("connect", ID, "--curl").out == f"curl -H 'Authorization: Bearer pass-1' http://gw/v1/services/{ID}/\n"
    )


def test_a_service_that_is_not_ready_says_so(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(f"POST /v1/projects/default/jobs/{ID}:connect", problem(503, "unavailable", "no replica is ready yet"))
    ended = nordan("connect", ID)
    assert ended.code == 1
    assert "no replica is ready yet" in ended.err
