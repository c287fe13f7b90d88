"""Leave to put bytes, or to copy them, ends with the next word of the region when it would not be given any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from nordan_api.resting import why_not_at_rest
from nordan_core.domain.ids import RegionCode
from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_access
from nordan_core.residency.derogations import parse_derogation
from support.derogating import Members
from support.lab import BOUGHT, JOBS, PATIENTS, Lab
from support.region_side import manifest

DATA = manifest(a__csv="1")
DATASETS, ARTIFACTS = "/v1/projects/default/datasets", "/v1/projects/default/artifacts"
SOLD_BACK = {**BOUGHT, "owners": []}
Json = dict[str, Any]


@pytest.fixture
def european(lab: Lab) -> Lab:
    """A control plane that nobody buys with the pools, and some patients' data."""
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})
    lab.admin("POST", DATASETS, {"name": "patients", "policy": PATIENTS}, expect=201)
    return lab


def allowed(lab: Lab, region: str = "fr-bru-1", *, key: str | None = None) -> str:
    answer = lab.call("POST", f"{DATASETS}/patients:put", {"region": region}, key=key or lab.admin_key, expect=201)
    return str(answer.json()["upload_id"])


def closed(lab: Lab, region: str = "fr-bru-1") -> list[str]:
    found: list[str] = lab.region(region).sync()["fenced_objects"]
    return found


def test_it_ends_when_the_region_becomes_unlawful_and_is_good_again_when_that_does(european: Lab) -> None:
    upload = allowed(european)
    assert closed(european) == []
    european.apply(BOUGHT)
    assert closed(european) == [f"upload:{upload}"]
    assert closed(european, "no-nar-1") == [], "nothing may be put there under it"
    european.apply(SOLD_BACK)
    assert closed(european) == []


def test_only_while_it_is_about(european: Lab) -> None:
    """Not once it was used, and not after its hour."""
    used, open_ = allowed(european), allowed(european)
    european.region("fr-bru-1").commit(used, DATA)
    european.apply(BOUGHT)
    assert closed(european) == [f"upload:{open_}"]
    european.pass_time(3599)
    assert closed(european) == [f"upload:{open_}"]
    european.pass_time(1)
    assert closed(european) == []


def test_of_other_data_it_goes_on(european: Lab) -> None:
    european.admin("POST", DATASETS, {"name": "weather", "policy": {"class": "public"}}, expect=201)
    european.admin("POST", f"{DATASETS}/weather:put", {"region": "fr-bru-1"}, expect=201)
    upload = allowed(european)
    european.apply(BOUGHT)
    assert closed(european) == [f"upload:{upload}"]


def test_a_copy_is_asked_by_the_policy_that_its_artifact_has_now(european: Lab) -> None:
    upload = allowed(european)
    artifact = european.region("fr-bru-1").commit(upload, DATA)["artifact_id"]
    access = european.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": "se-bor-1"}, expect=201).json()
    assert closed(european, "se-bor-1") == []
    narrow = {**PATIENTS, "residency": ["FR"]}
    with european.context.store.begin() as work:
        work.epoch.hold()
        work.lineage.set_policy(artifact, narrow)
        work.epoch.step()
    assert closed(european, "se-bor-1") == [f"upload:{access['upload_id']}"]


def test_of_a_key_that_was_revoked_it_ends(european: Lab) -> None:
    """Or that has expired: it would not be given any more."""
    revoked, short = (european.key("home", "owner", territory="FR", **more) for more in ({}, {"expires_in_s": 60}))
    first, second = allowed(european, key=revoked), allowed(european, key=short)
    assert closed(european) == []
    identity = european.call("GET", "/v1/me", key=revoked).json()["key"]
    european.admin("DELETE", f"/v1/organisations/home/keys/{identity}", expect=204)
    assert closed(european) == [f"upload:{first}"]
    european.pass_time(60)
    assert closed(european) == [f"upload:{first}", f"upload:{second}"]


def test_by_a_derogation_it_ends_with_that(european: Lab) -> None:
    members = Members.of(european)
    european.apply(BOUGHT)
    granted = members.grant(subjects=["dataset/patients"])
    upload = allowed(european)
    assert closed(european) == []
    members.revoke(granted)
    assert closed(european) == [f"upload:{upload}"]


def test_of_many_the_same_is_asked_once(european: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many leaves a tenant has, a sync reads the texts of its derogations and judges their policy once."""
    Members.of(european).grant(subjects=["dataset/patients"])
    for _ in range(3):
        allowed(european)
    gone = european.key("home", "owner", territory="FR", expires_in_s=60)
    lost = [allowed(european, key=gone) for _ in range(2)]
    european.pass_time(60)
    asked: list[str] = []

    def counted(where: str, call: Callable[..., Any]) -> None:
        def noted(*given: Any) -> Any:
            asked.append(where)
            return call(*given)

        monkeypatch.setattr(where, noted)

    counted("nordan_core.granted.parse_derogation", parse_derogation)
    counted("nordan_api.workers.putting.why_not_at_rest", why_not_at_rest)
    assert closed(european) == [f"upload:{one}" for one in lost]
    assert sorted(asked) == ["nordan_api.workers.putting.why_not_at_rest", "nordan_core.granted.parse_derogation"]
    with european.context.store.begin() as work:
        groups = work.readings.puts_in(RegionCode("fr-bru-1"), european.clock.now())
    assert sorted((len(one.uploads), one.is_gone) for one in groups) == [(2, True), (3, False)]


class TestHowMuchLeaveMayBeOpen:
    """Each sync of a region asks about all that is open in it, so one tenant's must not grow without end."""

    @pytest.fixture(autouse=True)
    def _few(self, european: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nordan_api.datasets.service.MOST_OPEN_PUTS", 2)

    def test_of_one_project_no_more_than_so_much(self, european: Lab) -> None:
        """For datasets, files and copies together; another project has its own."""
        used = allowed(european)
        artifact = european.region("fr-bru-1").commit(used, DATA)["artifact_id"]
        allowed(european)
        european.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": "se-bor-1"}, expect=201)
        refused = european.admin("POST", f"{DATASETS}/patients:put", {"region": "fr-bru-1"}, expect=409).json()
        assert (refused["code"], "2 uploads" in refused["detail"]) == ("too_many_uploads", True)
        copy = european.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": "se-bor-1"}, expect=409).json()
        files = {"region": "fr-bru-1", "job": {"name": "a", "command": ["true"]}}
        put = european.admin("POST", "/v1/projects/default/files:put", files, expect=409).json()
        assert (copy["code"], put["code"]) == ("too_many_uploads",) * 2
        european.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
        european.admin("POST", "/v1/projects/second/files:put", files, expect=201)

    def test_what_was_used_or_is_over_leaves_room(self, european: Lab) -> None:
        """At once."""
        first, _ = allowed(european), allowed(european)
        european.region("fr-bru-1").commit(first, DATA)
        allowed(european)
        european.pass_time(3600)
        allowed(european)


class TestAPassLivesNoLongerThanTheJudgesWord:
    """A region that is cut off serves it until then, and no longer."""

    def _life_s(self, lab: Lab, access: Json) -> float:
        claims = read_access(access["token"], keys=trusted(lab.context.grant_key.public), now=lab.clock.now())
        return (claims.expires_at - lab.clock.now()).total_seconds()

    def _ending(self, lab: Lab, seconds: float) -> Json:
        return {**PATIENTS, "valid_until": (lab.clock.now() + timedelta(seconds=seconds)).isoformat()}

    @pytest.mark.parametrize(("ends_in_s", "read_s", "put_s"), [(300, 300, 300), (1800, 900, 1800), (7200, 900, 3600)])
    def test_to_put_copy_and_read_data(self, lab: Lab, ends_in_s: float, read_s: float, put_s: float) -> None:
        artifact = lab.put("patients", "fr-bru-1", DATA, self._ending(lab, ends_in_s))
        put = lab.admin("POST", f"{DATASETS}/patients:put", {"region": "fr-bru-1"}, expect=201).json()
        copy = lab.admin("POST", f"{ARTIFACTS}/{artifact}:copy", {"region": "se-bor-1"}, expect=201).json()
        source = lab.worker("se-bor-1", "/worker/v1/uploads:source", {"upload_id": copy["upload_id"]})
        read = lab.admin("POST", f"{ARTIFACTS}/{artifact}:read", {}, expect=200).json()
        lives = [self._life_s(lab, access) for access in (put, copy, source, read)]
        assert lives == [put_s, put_s, read_s, read_s]

    def test_to_read_a_log_or_call_a_service(self, lab: Lab) -> None:
        ends = (lab.clock.now() + timedelta(seconds=300)).isoformat()
        job, region, run = lab.running(kind="inference", port=8080, policy={"process": ["FR"], "valid_until": ends})
        region.sync(run.report("running", is_ready=True))
        log = lab.admin("GET", f"{JOBS}/{job}/logs", expect=200).json()
        service = lab.admin("POST", f"{JOBS}/{job}:connect", {}, expect=200).json()
        assert [self._life_s(lab, access) for access in (log, service)] == [300, 300]
