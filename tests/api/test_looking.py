"""Looking: lists by pages, versions, what is free, who one is, whether the process is ready."""

from __future__ import annotations

import pytest
from psycopg.errors import DiskFull
from sqlalchemy.exc import OperationalError

from nordan_core.proof.growth import growth_faults, growth_of
from nordan_core.proof.keys import trusted
from nordan_core.proof.leaf import commitment
from nordan_core.proof.merkle import leaf_hash
from nordan_core.store.epoch import ResidencyEpoch
from support.command_line import Nordan
from support.lab import CERTIFICATE_KEY, JOBS, Lab
from support.region_side import manifest


def test_pages_show_each_job_once_newest_first(lab: Lab) -> None:
    """Even when another is submitted between two pages."""
    made = [lab.submit() for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = lab.admin("GET", f"{JOBS}?limit=3{cursor}", expect=200).json()
        seen += [one["id"] for one in page["items"]]
        lab.submit(name="late")
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == list(reversed(made))


def test_jobs_are_found_by_state_and_by_name(lab: Lab) -> None:
    """Several states at once; a name that nobody has finds nothing."""
    queued, cancelled = lab.submit(name="one"), lab.submit(name="two")
    lab.cancel(cancelled)
    for query, found in (
        ("state=queued", [queued]),
        ("state=cancelled&state=queued", [cancelled, queued]),
        ("state=running", []),
        ("name=two", [cancelled]),
        ("name=three", []),
    ):
        items = lab.admin("GET", f"{JOBS}?{query}", expect=200).json()["items"]
        assert [one["id"] for one in items] == found, query


def test_the_etag_is_the_version_and_rises_with_each_move(lab: Lab) -> None:
    """Reasons that change while a job waits leave it as it is."""
    job = lab.submit(nodes=3, resources={"gpu": "B200:8"}, max_wait="1h")
    first = lab.admin("GET", f"{JOBS}/{job}").headers["etag"]
    lab.cycle()
    assert lab.show(job)["reason"] is not None
    assert lab.admin("GET", f"{JOBS}/{job}").headers["etag"] == first == '"1"'
    lab.cancel(job)
    assert lab.admin("GET", f"{JOBS}/{job}").headers["etag"] == '"2"'


def test_what_is_free_follows_placements(lab: Lab) -> None:
    """In the list of pools and, for administrators, of nodes."""

    def free() -> int:
        pools = lab.admin("GET", "/v1/pools", expect=200).json()["items"]
        nodes = lab.admin("GET", "/v1/nodes", expect=200).json()["items"]
        [found] = {
            next(one["gpus_free"] for one in pools if one["name"] == "fr-bru-1-b200"),
            sum(one["gpus_free"] for one in nodes if one["pool"] == "fr-bru-1-b200"),
        }
        return int(found)

    assert free() == 16
    _, region, run = lab.running(resources={"gpu": "B200:5"}, nodes=2)
    assert free() == 6
    region.end(run)
    assert free() == 16


def test_a_smaller_pool_keeps_its_last_nodes_out_of_use(lab: Lab) -> None:
    """What runs there may end; nothing new begins; a larger one gets them back."""
    job, region, run = lab.running(resources={"gpu": "B200:8"}, nodes=2)
    pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
    lab.apply({**pool, "nodes": 1})
    region.end(run)
    assert lab.state(job) == "succeeded"
    lab.submit(resources={"gpu": "B200:8"}, nodes=2, max_wait="1h")
    assert lab.cycle().placed == 0
    lab.apply({**pool, "nodes": 2})
    assert lab.cycle().placed == 1


def test_a_pool_that_a_job_has_alone_serves_no_second_tenant_until_it_is_empty(lab: Lab) -> None:
    """Then anybody."""
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    owner = lab.key("other", "owner")
    lab.call("POST", "/v1/projects", {"name": "theirs"}, key=owner, expect=201)
    pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
    lab.apply({**pool, "enforces": ["isolation"]})
    _, region, run = lab.running(resources={"gpu": "B200:1"}, policy={"tenancy": "dedicated"})
    body = {"name": "second", "command": ["true"], "resources": {"gpu": "B200:1"}}
    second = lab.call("POST", "/v1/projects/theirs/jobs", body, key=owner, expect=202).json()["id"]
    assert lab.cycle().placed == 0
    region.end(run)
    assert lab.cycle().placed == 1
    shown = lab.call("GET", f"/v1/projects/theirs/jobs/{second}", key=owner, expect=200).json()
    assert shown["state"] == "starting"


def test_a_region_without_root_serves_one_tenant_whatever_its_pools_promise(lab: Lab) -> None:
    """It said so when it joined."""
    lab.join("fr-bru-1", tenancy=("single",))
    pool = lab.one("select document from pool where name = 'fr-bru-1-b200'")
    lab.apply({**pool, "tenancy": "shared"})
    lab.place(resources={"gpu": "B200:1"})
    assert lab.one("select single_tenant from pool where name = 'fr-bru-1-b200'") is not None


def test_the_log_is_read_by_pages_in_the_order_of_its_leaves(lab: Lab) -> None:
    """Only what is sealed; the head says how many there are."""
    assert lab.admin("GET", "/v1/audit/checkpoint", expect=404).json()["code"] == "not_found"
    _, region, run = lab.running()
    region.end(run)
    lab.seal()
    seen: list[int] = []
    after: int | None = -1
    while after is not None:
        page = lab.admin("GET", f"/v1/audit/entries?after={after}&limit=4", expect=200).json()
        seen += [one["index"] for one in page["items"]]
        after = page["next_after"]
    size = lab.admin("GET", "/v1/audit/checkpoint", expect=200).json()["size"]
    assert seen == list(range(size))


def test_two_heads_of_the_log_are_proved_to_be_of_one_log(lab: Lab) -> None:
    """For any pair that was signed, and by whoever may look."""
    for _ in range(3):
        lab.submit()
        lab.seal()
    heads = lab.admin("GET", "/v1/audit/checkpoints", expect=200).json()["items"]
    sizes = [one["size"] for one in heads]
    assert sizes == sorted(set(sizes))
    assert len(sizes) >= 3
    keys = trusted(CERTIFICATE_KEY.public)
    for old in sizes:
        for new in sizes:
            path = f"/v1/audit/consistency?old={old}&new={new}"
            if old > new:
                lab.admin("GET", path, expect=422)
                continue
            growth = growth_of(lab.admin("GET", path, expect=200).json(), keys)
            assert (growth.old.size, growth.new.size) == (old, new)
            assert list(growth_faults(growth)) == []
    newest = growth_of(lab.admin("GET", f"/v1/audit/consistency?old={sizes[0]}", expect=200).json(), keys)
    assert newest.new.size == sizes[-1]
    lab.admin("GET", "/v1/audit/consistency?old=999999", expect=404)
    after = lab.admin("GET", f"/v1/audit/checkpoints?after={sizes[0]}&limit=1", expect=200).json()
    assert ([one["size"] for one in after["items"]], after["next_after"]) == ([sizes[1]], sizes[1])


def test_salts_are_shown_on_request_and_open_the_leaves(lab: Lab) -> None:
    """So that an export can be checked leaf by leaf."""
    lab.submit()
    lab.seal()
    plain = lab.admin("GET", "/v1/audit/entries", expect=200).json()["items"]
    salted = lab.admin("GET", "/v1/audit/entries?salts=true", expect=200).json()["items"]
    assert all("salt" not in one for one in plain)
    assert [{name: value for name, value in one.items() if name not in {"salt", "form"}} for one in salted] == plain
    leaf = lab.one("select encode(hash, 'hex') from merkle_node where level = 0 and index = 0")
    entry = {name: value for name, value in salted[0].items() if name not in {"salt", "form", "index"}}
    assert leaf_hash(commitment(bytes.fromhex(salted[0]["salt"]), entry)).hex() == leaf


def test_content_is_told_of_by_name_digest_and_place(lab: Lab) -> None:
    """Never by its bytes."""
    lab.put("patients", "fr-bru-1", manifest(a__csv="secret bytes"))
    [line] = lab.admin("GET", "/v1/projects/default/datasets").json()["items"]
    assert line["versions"][0]["size_bytes"] == len("secret bytes")
    shown = lab.admin("GET", f"/v1/projects/default/artifacts/{line['versions'][0]['id']}").text
    assert "a.csv" in shown
    assert "secret bytes" not in shown


def test_readiness_is_the_databases(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process lives all the same."""
    assert lab.client.get("/readyz").json() == {"status": "ready"}

    def away(_: ResidencyEpoch) -> int:
        raise OperationalError("select 1", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(ResidencyEpoch, "current", away)
        answer = lab.client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
        assert lab.client.get("/healthz").status_code == 200
        refused = lab.admin("POST", JOBS, {"name": "a", "command": ["true"]})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


def test_a_full_disk_under_the_database_is_said_as_such(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as a part that does not answer: who asks again at once is refused again."""

    def full(_: ResidencyEpoch) -> int:
        raise OperationalError("insert", {}, DiskFull("could not extend file"))

    monkeypatch.setattr(ResidencyEpoch, "current", full)
    refused = lab.admin("POST", JOBS, {"name": "a", "command": ["true"]})
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
    assert "could not extend" not in refused.text


def test_a_job_is_shown_with_its_projects_name(lab: Lab, nordan: Nordan) -> None:
    """Beside the id, by which programs find it."""
    job = lab.submit()
    shown = lab.show(job)
    assert (shown["project_name"], shown["project"].startswith("prj_")) == ("default", True)
    [line] = [one for one in nordan("get", job).out.splitlines() if one.startswith("project")]
    assert line.split() == ["project", "default"]


def test_a_list_without_pages_takes_a_limit(lab: Lab) -> None:
    """Clients send one to every list."""
    assert lab.admin("GET", "/v1/projects?limit=1", expect=200).json()["items"]
