"""Who may read what: judged by where the reader sits, and answered with a pass for one object and one action."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pytest

from nordan_core.proof.errors import TokenError
from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import AccessClaims, read_access
from support.derogating import Members
from support.lab import BOUGHT, JOBS, PATIENTS, Lab
from support.region_side import RegionSide, Run, manifest

DATA = manifest(a__csv="1")
IN_FRANCE = {"process": ["FR"]}
Json = dict[str, Any]


def claims_of(lab: Lab, access: Json) -> AccessClaims:
    """Return what a gateway reads in the token of an access."""
    return read_access(access["token"], keys=trusted(lab.context.grant_key.public), now=lab.clock.now())


def _confidential(lab: Lab) -> tuple[str, RegionSide, Run]:
    lab.put("patients", "fr-bru-1", DATA)
    return lab.running(inputs=["dataset/patients"], outputs=["model"])


def _serving(lab: Lab, **changes: Any) -> tuple[str, RegionSide, Run]:
    job, region, run = lab.running(kind="inference", port=8080, **changes)
    region.sync(run.report("running", is_ready=True))
    return job, region, run


@pytest.mark.parametrize(
    ("territory", "status", "have"),
    [("FR", 200, ""), ("SE", 200, ""), ("DE", 422, "DE"), ("US", 422, "US"), (None, 422, "not recorded")],
)
def test_logs_of_confidential_work_are_for_readers_whose_territory_may(
    lab: Lab, territory: str | None, status: int, have: str
) -> None:
    """Unknown is denied; each answer is one entry in the log."""
    job, _, run = _confidential(lab)
    key = lab.key("home", "viewer", **({"territory": territory} if territory else {}))
    answer = lab.call("GET", f"{JOBS}/{job}/logs", key=key, expect=status).json()
    act = "read_allowed" if status == 200 else "read_refused"
    assert lab.rows("select act, subject from audit_entry where act like 'read%'") == [(act, run.attempt)]
    if status == 422:
        assert (answer["code"], answer["facet"], answer["have"]) == ("rejected_by_policy", "access", have)
        assert "token" not in answer


def test_a_floor_that_became_tighter_holds_for_readers_at_once(lab: Lab) -> None:
    """Also for the logs of what was accepted before."""
    job, _, _ = lab.running()
    key = lab.key("home", "viewer", territory="NO")
    lab.call("GET", f"{JOBS}/{job}/logs", key=key, expect=200)
    sets = {facet: ["EEA"] for facet in ("process", "store", "describe", "key")}
    floor = {"class": "internal", "access": ["EU"], **sets}
    lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
    assert lab.call("GET", f"{JOBS}/{job}/logs", key=key, expect=422).json()["facet"] == "access"


def test_internal_work_is_read_by_whoever_has_no_territory_on_record(lab: Lab) -> None:
    """But not by somebody who is known to sit outside."""
    job, _, _ = lab.running()
    for territory, status in ((None, 200), ("NO", 200), ("US", 422)):
        key = lab.key("home", "viewer", **({"territory": territory} if territory else {}))
        lab.call("GET", f"{JOBS}/{job}/logs", key=key, expect=status)


def test_the_pass_to_a_log_is_for_that_attempt_at_that_region(lab: Lab) -> None:
    """Audience, object, action, subject, a quarter of an hour, and a URL at the region's gateway."""
    job, _, run = _confidential(lab)
    access = lab.admin("GET", f"{JOBS}/{job}/logs?rank=0", expect=200).json()
    claims = claims_of(lab, access)
    assert (claims.audience, claims.obj, claims.act) == ("gateway:fr-bru-1", f"attempt:{run.attempt}", "read")
    assert claims.subject == lab.admin("GET", "/v1/me").json()["key"]
    assert (claims.expires_at - lab.clock.now()).total_seconds() == 900.0
    assert datetime.fromisoformat(access["expires_at"]) == claims.expires_at
    assert access["url"] == f"http://127.0.0.1:1/fr-bru-1/v1/attempts/{run.attempt}/logs?rank=0"
    lab.clock.advance(916)
    with pytest.raises(TokenError):
        claims_of(lab, access)


def test_a_browser_is_sent_to_the_gateway(lab: Lab) -> None:
    """307, and the token is not in the URL."""
    job, _, run = lab.running()
    answer = lab.admin("GET", f"{JOBS}/{job}/logs", expect=307, Accept="text/html")
    assert answer.headers["location"].endswith(f"/v1/attempts/{run.attempt}/logs?rank=0")


def test_logs_of_an_earlier_attempt_or_another_rank_are_asked_for_by_number(lab: Lab) -> None:
    """What there is not is not found; what is no number is malformed."""
    job, region, first = lab.running(nodes=2)
    region.end(first, "lost", reason="node_lost")
    lab.pass_time(61)
    lab.cycle()
    _, second = lab.take(job)
    urls = [
        lab.admin("GET", f"{JOBS}/{job}/logs?{query}", expect=200).json()["url"]
        for query in ("", "attempt=1", "attempt=2&rank=1")
    ]
    assert [url.split("/attempts/")[1] for url in urls] == [
        f"{second.attempt}/logs?rank=0",
        f"{first.attempt}/logs?rank=0",
        f"{second.attempt}/logs?rank=1",
    ]
    for query in ("attempt=3", "rank=2"):
        assert lab.admin("GET", f"{JOBS}/{job}/logs?{query}", expect=404).json()["code"] == "not_found"
    for query in ("attempt=0", "rank=-1", "rank=x"):
        answer = lab.admin("GET", f"{JOBS}/{job}/logs?{query}", expect=422).json()
        assert answer["errors"][0]["field"] in {"attempt", "rank"}


def test_a_job_without_an_attempt_has_no_log(lab: Lab) -> None:
    """It has not run anywhere."""
    job = lab.submit()
    assert lab.admin("GET", f"{JOBS}/{job}/logs", expect=404).json()["code"] == "not_found"


class TestArtifacts:
    """Reading what is stored."""

    def test_the_pass_is_for_the_manifest_at_a_region_that_holds_it(self, lab: Lab) -> None:
        """Any region that is lawful now."""
        artifact = lab.put("patients", "fr-bru-1", DATA)
        access = lab.admin("POST", f"/v1/projects/default/artifacts/{artifact}:read", {}, expect=200).json()
        digest = lab.admin("GET", f"/v1/projects/default/artifacts/{artifact}").json()["digest"]
        claims = claims_of(lab, access)
        assert (claims.audience, claims.obj, claims.act) == ("gateway:fr-bru-1", f"manifest:{digest}", "read")
        assert access["url"].endswith(f"/v1/manifests/{digest}")

    def test_outputs_are_read_under_what_they_inherited(self, lab: Lab) -> None:
        """A reader abroad may not, whatever the job's own words."""
        job, region, run = _confidential(lab)
        region.end(run, outputs={"model": manifest(m="1")})
        artifact = lab.show(job)["artifacts"][0]["id"]
        for territory, status in (("SE", 200), ("DE", 422), (None, 422)):
            key = lab.key("home", "viewer", **({"territory": territory} if territory else {}))
            lab.call("POST", f"/v1/projects/default/artifacts/{artifact}:read", {}, key=key, expect=status)

    def test_bytes_whose_place_became_unlawful_are_read_from_another_or_not_at_all(self, lab: Lab) -> None:
        """They stay where they are; nobody is sent there."""
        lab.put("patients", "fr-bru-1", DATA)
        artifact = lab.put("patients", "se-bor-1", DATA)
        path = f"/v1/projects/default/artifacts/{artifact}:read"
        for code, other in (("fr-bru-1", "se-bor-1"), ("se-bor-1", None)):
            region = lab.one("select document from region where code = :code", code=code)
            lab.apply({**region, "operator": "mainkai-cloud"})
            if other is not None:
                access = lab.admin("POST", path, {}, expect=200).json()
                assert claims_of(lab, access).audience == f"gateway:{other}"
        assert lab.admin("POST", path, {}, expect=422).json()["code"] == "fenced"

    def test_a_put_is_a_pass_for_one_upload_at_one_region(self, lab: Lab) -> None:
        """And says under which id it is committed."""
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
        path = "/v1/projects/default/datasets/patients:put"
        access = lab.admin("POST", path, {"region": "se-bor-1"}, expect=201).json()
        claims = claims_of(lab, access)
        assert (claims.audience, claims.obj, claims.act) == ("gateway:se-bor-1", f"upload:{access['upload_id']}", "put")

    def test_what_is_not_there_is_not_found(self, lab: Lab) -> None:
        """By any name."""
        for name in ("art_00000000000000000000000000", "absent", "'"):
            lab.admin("GET", f"/v1/projects/default/artifacts/{name}", expect=404)
            lab.admin("POST", f"/v1/projects/default/artifacts/{name}:read", {}, expect=404)


class TestLeaveThatIsAbout:
    """With each sync a region is told whose passes would not be given any more."""

    NARROW: ClassVar[Json] = {
        "class": "internal",
        "access": ["EU"],
        **{facet: ["EEA"] for facet in ("process", "store", "describe", "key")},
    }

    def _leave(self, lab: Lab, verb: str, path: str) -> dict[str, str]:
        """Give leave to a reader in France and one in Norway; return their keys' ids by territory."""
        given = {}
        for territory in ("FR", "NO"):
            key = lab.key("home", "viewer", territory=territory)
            lab.call(verb, path, {} if verb == "POST" else None, key=key, expect=200)
            given[territory] = str(lab.call("GET", "/v1/me", key=key).json()["key"])
        return given

    def _narrow(self, lab: Lab, floor: Json) -> None:
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})

    def test_to_a_log_it_ends_when_a_floor_narrows_access(self, lab: Lab) -> None:
        """For whoever sits outside; and not when the floor goes back, whatever the pass says."""
        job, region, run = lab.running(policy=IN_FRANCE)
        given = self._leave(lab, "GET", f"{JOBS}/{job}/logs")
        assert region.sync()["fenced_objects"] == []
        self._narrow(lab, self.NARROW)
        assert region.sync()["fenced_objects"] == [f"attempt:{run.attempt} for {given['NO']}"]
        assert lab.region("se-bor-1").sync()["fenced_objects"] == [], "that log is not there"
        self._narrow(lab, {**self.NARROW, "access": ["EEA"]})
        assert region.sync()["fenced_objects"] == []

    def test_to_what_lies_there_too(self, lab: Lab) -> None:
        """An artifact of a job, in the region that holds it."""
        job, region, run = lab.running(outputs=["model"], policy=IN_FRANCE)
        region.end(run, outputs={"model": manifest(m="1")})
        artifact = lab.show(job)["artifacts"][0]["id"]
        given = self._leave(lab, "POST", f"/v1/projects/default/artifacts/{artifact}:read")
        assert region.sync()["fenced_objects"] == []
        self._narrow(lab, self.NARROW)
        assert region.sync()["fenced_objects"] == [f"artifact:{artifact} for {given['NO']}"]

    def test_to_a_service_it_ends_too_and_lasts_as_long_as_its_pass(self, lab: Lab) -> None:
        """An hour."""
        job, region, _ = _serving(lab, policy=IN_FRANCE)
        given = self._leave(lab, "POST", f"{JOBS}/{job}:connect")
        self._narrow(lab, self.NARROW)
        lab.pass_time(3599)
        assert region.sync()["fenced_objects"] == [f"service:{job} for {given['NO']}"]
        lab.pass_time(1)
        assert region.sync()["fenced_objects"] == []

    def test_to_the_logs_of_what_ended_it_ends_with_the_place(self, lab: Lab) -> None:
        """The region became unlawful for its policy; a job of another policy is read on, and so is one elsewhere."""
        ended = {}
        for name, policy in (("free", {"forbid_exposure": ["US"]}), ("plain", {})):
            job, region, run = lab.running(name=name, policy={**IN_FRANCE, **policy})
            region.end(run)
            lab.admin("GET", f"{JOBS}/{job}/logs", expect=200)
            ended[name] = run.attempt
        reader = lab.admin("GET", "/v1/me").json()["key"]
        assert region.sync()["fenced_objects"] == []
        lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"}, BOUGHT)
        assert region.sync()["fenced_objects"] == [f"attempt:{ended['free']} for {reader}"]
        lab.pass_time(900)
        assert region.sync()["fenced_objects"] == [], "no pass is about any more"

    def test_of_a_key_that_was_revoked_it_ends(self, lab: Lab) -> None:
        """Or that has expired: it would not be given any more."""
        job, region, run = lab.running(policy=IN_FRANCE)
        given = self._leave(lab, "GET", f"{JOBS}/{job}/logs")
        short = lab.key("home", "viewer", territory="FR", expires_in_s=60)
        lab.call("GET", f"{JOBS}/{job}/logs", key=short, expect=200)
        lab.admin("DELETE", f"/v1/organisations/home/keys/{given['FR']}", expect=204)
        assert region.sync()["fenced_objects"] == [f"attempt:{run.attempt} for {given['FR']}"]
        lab.pass_time(60)
        assert len(region.sync()["fenced_objects"]) == 2

    def test_by_a_derogation_it_ends_with_that(self, lab: Lab) -> None:
        """As long as it lasts, what it let run may be read."""
        members = Members.of(lab)
        job, region, run = lab.running(policy={**IN_FRANCE, "forbid_exposure": ["US"]})
        region.end(run)
        lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"}, BOUGHT)
        granted = members.grant()
        lab.admin("GET", f"{JOBS}/{job}/logs", expect=200)
        assert region.sync()["fenced_objects"] == []
        members.revoke(granted)
        assert len(region.sync()["fenced_objects"]) == 1


class TestServices:
    """Calling an inference job."""

    def test_a_ready_replica_is_called_at_its_regions_gateway(self, lab: Lab) -> None:
        """With a pass to call this service."""
        job, region, _ = _serving(lab)
        access = lab.admin("POST", f"{JOBS}/{job}:connect", {}, expect=200).json()
        claims = claims_of(lab, access)
        assert (claims.audience, claims.obj, claims.act) == (f"gateway:{region.code}", f"service:{job}", "call")
        assert access["url"].endswith(f"/v1/services/{job}/")

    def test_one_that_is_not_ready_is_waited_for(self, lab: Lab) -> None:
        """503 says when to ask again; readiness may come and go."""
        job, region, run = lab.running(kind="inference", port=8080)
        answer = lab.admin("POST", f"{JOBS}/{job}:connect", {}, expect=503)
        assert int(answer.headers["retry-after"]) >= 1
        for is_ready, status in ((True, 200), (False, 503), (True, 200)):
            region.sync(run.report("running", is_ready=is_ready))
            assert lab.show(job)["attempts"][0]["is_ready"] is is_ready
            lab.admin("POST", f"{JOBS}/{job}:connect", {}, expect=status)

    def test_one_that_has_ended_or_is_no_service_is_refused(self, lab: Lab) -> None:
        """Each with its own code."""
        job, region, run = _serving(lab)
        lab.cancel(job)
        region.end(run, "cancelled", reason="cancelled_by_user")
        assert lab.admin("POST", f"{JOBS}/{job}:connect", {}, expect=409).json()["code"] == "job_ended"
        plain, _, _ = lab.running(name="plain")
        assert lab.admin("POST", f"{JOBS}/{plain}:connect", {}, expect=422).json()["code"] == "invalid"

    def test_a_caller_is_judged_like_any_reader(self, lab: Lab) -> None:
        """The served model's policy is inherited."""
        lab.put("model", "fr-bru-1", DATA)
        job, _, _ = _serving(lab, inputs=["dataset/model"])
        for territory, status in (("FR", 200), ("US", 422), (None, 422)):
            key = lab.key("home", "viewer", **({"territory": territory} if territory else {}))
            lab.call("POST", f"{JOBS}/{job}:connect", {}, key=key, expect=status)


def test_a_region_that_has_not_joined_has_no_gateway_to_go_to(lab: Lab) -> None:
    """503, since it may join any moment."""
    region = lab.one("select document from region where code = 'fr-bru-1'")
    lab.apply({**region, "name": "fr-par-9"})
    pool = lab.one("select document from pool where name = 'fr-bru-1-h100'")
    lab.apply({**pool, "name": "fr-par-9-h100", "region": "fr-par-9"})
    lab.admin("POST", "/v1/projects/default/datasets", {"name": "patients", "policy": PATIENTS}, expect=201)
    path = "/v1/projects/default/datasets/patients:put"
    lab.admin("POST", path, {"region": "fr-par-9"}, expect=503)
    assert lab.one("select count(*) from upload") == 0


def test_no_answer_shows_an_environment_value_a_secret_or_a_credential(lab: Lab) -> None:
    """Values of the environment may be secrets; whoever submitted them knows them."""
    job = lab.submit(env={"TOKEN": "hunter2-canary"})
    for path in (f"{JOBS}/{job}", JOBS, "/v1/regions", "/v1/pools", "/v1/me", "/v1/keys", "/v1/organisations"):
        text = lab.admin("GET", path, expect=200).text
        assert "hunter2-canary" not in text
        assert "PRIVATE KEY" not in text
        assert lab.admin_key not in text
        assert all(credential not in text for credential in lab.credentials.values())
