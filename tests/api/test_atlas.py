"""Another atlas: what it would change is told first; in force, it fences what it made unlawful, and the log replays."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_api.places.service import apply_world
from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.domain.ids import KeyId, OrganisationId
from nordan_core.domain.tenants import Principal, Role
from nordan_core.proof.atlas_signature import packaged_signature
from nordan_core.proof.certificate import verify_certificate
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.replay import Terms
from nordan_core.proof.report import VerificationReport
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas
from nordan_core.store.atlases import AtlasToApply
from support.atlases import KEY, TRUSTED, changed, lacking, offer, parsed, without
from support.database_clock import START
from support.derogating import Members
from support.exports import ATLASES, export_of, replayed
from support.lab import CERTIFICATE_KEY, JOBS, PATIENTS, Lab
from support.region_side import manifest

Json = dict[str, Any]
DATA = manifest(a__csv="1")
SWEDEN_LEAVES = changed(without("EU", "SE"))
#: Data that may be in the EU, and lie in Sweden.
UNION: Json = {"residency": ["EU"], "class": "confidential", "egress": "unenforced"}


def digest(data: bytes) -> str:
    return parsed(data).digest


def diff(lab: Lab, data: bytes, *, expect: int = 200, **how: Any) -> Json:
    answer: Json = lab.admin("POST", "/v1/atlas:diff", offer(data, **how), expect=expect).json()
    return answer


def apply(lab: Lab, data: bytes, *, expect: int = 200, **changes: Any) -> Json:
    body = {**offer(data), "digest": digest(data), **changes}
    answer: Json = lab.admin("POST", "/v1/atlas:apply", body, expect=expect).json()
    return answer


def in_sweden(lab: Lab) -> tuple[str, Any, Any]:
    """Return a job that runs in Sweden because the EU is allowed, on data that lie there."""
    lab.put("union", "se-bor-1", DATA, UNION)
    return lab.running(inputs=["dataset/union"])


def certified(lab: Lab, envelope: Json, earlier: list[Atlas]) -> VerificationReport:
    """Return what a reader says who has the packaged atlas and some others."""
    keys = trusted(CERTIFICATE_KEY.public)
    grants = trusted(lab.context.grant_key.public)
    return verify_certificate(
        envelope, grant_keys=grants, certificate_keys=keys, atlas=default_atlas(), earlier=earlier
    )


class TestTold:
    """Before anything is applied, whoever decides sees what would change."""

    def test_the_law_itself_and_whom_it_touches(self, lab: Lab) -> None:
        job, _, run = in_sweden(lab)
        before = lab.dump()
        told = diff(lab, SWEDEN_LEAVES)
        assert lab.dump() == before
        assert told["in_force"]["digest"] == default_atlas().digest
        assert told["offered"]["signed_by"] == {"key": KEY.public.key_id, "release": False}
        assert told["is_newer"] is True
        assert told["lacking"] == []
        assert told["changes"] == [
            {
                "kind": "group",
                "name": "EU SE",
                "before": "from 1995-01-01T00:00:00Z",
                "after": "from 1995-01-01T00:00:00Z until 2026-11-01T00:00:00Z",
            }
        ]
        [layer] = told["layers"]
        assert layer == {
            "kind": "dataset",
            "name": "union",
            "of": "default",
            "refused": ["se-bor-1-h200"],
            "allowed": [],
        }
        [policy] = told["policies"]
        assert (policy["jobs"], policy["refused"], policy["allowed"]) == ([job], ["se-bor-1-h200"], [])
        assert policy["digest"] == lab.show(job)["policy"]["digest"]
        [attempt] = told["attempts"]
        assert (attempt["attempt"], attempt["now"]) == (run.attempt, "refused")
        assert {one["facet"] for one in attempt["refusals"]} >= {"process", "store"}
        [data] = told["data"]
        assert (data["project"], data["region"], data["now"]) == ("default", "se-bor-1", "refused")
        assert told["pools"] == [{"pool": "se-bor-1-h200", "refused": 2, "allowed": 0, "attempts": 1}]

    def test_what_would_become_lawful_is_told_as_allowed(self, lab: Lab) -> None:
        apply(lab, SWEDEN_LEAVES)
        lab.admin("POST", "/v1/projects/default/datasets", {"name": "union", "policy": UNION}, expect=201)
        told = diff(lab, changed(lambda _: None, "tests-2027-02"))
        [layer] = [one for one in told["layers"] if one["name"] == "union"]
        assert (layer["refused"], layer["allowed"]) == ([], ["se-bor-1-h200"])

    def test_nothing_that_is_the_same_is_told(self, lab: Lab) -> None:
        in_sweden(lab)
        told = diff(lab, changed(lambda document: document["notes"].append("no law"), "tests-2027-01"))
        assert [told[name] for name in ("changes", "layers", "policies", "pools", "attempts", "data")] == [[]] * 6


class TestApplied:
    """In force from one instant on, for everything that is there."""

    def test_what_ran_by_the_old_one_is_fenced_and_the_log_replays(self, lab: Lab) -> None:
        job, region, run = in_sweden(lab)
        epoch = lab.one("select epoch from residency_epoch")
        apply(lab, SWEDEN_LEAVES)
        assert lab.one("select epoch from residency_epoch") == epoch + 1
        lab.revisit()
        assert run.attempt in {one["attempt_id"] for one in region.sync()["stop"]}
        region.end(run, "fenced", reason="fenced")
        assert lab.state(job) == "fenced"
        assert lab.one("select count(*) from location where fenced_at is not null") == 1
        # A new job of the same kind goes nowhere.
        refused = lab.admin("POST", JOBS, {"name": "two", "command": ["true"], "inputs": ["dataset/union"]}, expect=422)
        assert refused.json()["code"] in {"residency_unsatisfiable", "data_not_in_region"}
        lab.seal()
        found = replayed(export_of(lab.context.store), CERTIFICATE_KEY.public)
        assert found.faults == []
        assert found.judged > 5

    def test_the_region_that_speaks_first_is_told_as_well(self, lab: Lab) -> None:
        _, region, run = in_sweden(lab)
        apply(lab, SWEDEN_LEAVES)
        assert run.attempt in {one["attempt_id"] for one in region.sync()["stop"]}

    def test_an_attempt_that_stays_lawful_goes_on_and_its_certificate_names_both_atlases(self, lab: Lab) -> None:
        lab.put("union", "fr-bru-1", DATA, UNION)
        job, region, run = lab.running(inputs=["dataset/union"])
        apply(lab, SWEDEN_LEAVES)
        lab.revisit()
        assert not region.sync()["stop"]
        region.end(run)
        lab.seal()
        answer = lab.admin("GET", f"{JOBS}/{job}/certificate", expect=200).json()
        both = certified(lab, answer["envelope"], [parsed(SWEDEN_LEAVES)])
        assert both.ok, [one for one in both.checks if not one.ok]
        assert both.certificate is not None
        judged = {one.stage: one.atlas_digest for one in both.certificate.attempts[0].judgements}
        assert judged["apply"] == default_atlas().digest
        assert judged["renew"] == digest(SWEDEN_LEAVES) == both.certificate.versions.atlas_digest
        one = certified(lab, answer["envelope"], [])
        assert next(check.name for check in one.checks if not check.ok) == "atlas"

    def test_it_is_shown_and_its_bytes_are_given_to_whoever_verifies(self, lab: Lab) -> None:
        apply(lab, SWEDEN_LEAVES)
        shown = lab.admin("GET", "/v1/atlas", expect=200).json()
        versions = [one["version"] for one in shown["items"]]
        assert versions == ["tests-2027-01", default_atlas().version], "a cell begins with the packaged one"
        assert (shown["in_force"]["version"], shown["in_force"]["digest"]) == ("tests-2027-01", digest(SWEDEN_LEAVES))
        assert lab.admin("GET", "/v1/cell", expect=200).json()["atlas"]["digest"] == digest(SWEDEN_LEAVES)
        fetched = lab.admin("GET", f"/v1/atlas/{digest(SWEDEN_LEAVES)}", expect=200).json()
        assert {"data": fetched["data"], "signature": fetched["signature"]} == offer(SWEDEN_LEAVES)
        packaged = lab.admin("GET", f"/v1/atlas/{default_atlas().digest}", expect=200).json()
        assert packaged["signature"] == packaged_signature()
        lab.admin("GET", f"/v1/atlas/{'0' * 64}", expect=404)

    def test_a_group_that_is_new_may_be_named_at_once_also_in_another_process(self, lab: Lab) -> None:
        club = {"title": "Ours", "members": [{"territory": "FR", "from": "2020-01-01", "source": "us"}]}
        apply(lab, changed(lambda document: document["groups"].update(CLUB=club)))
        other = lab.another_process()
        stated = {"name": "c", "policy": {"residency": ["CLUB"]}}
        other.admin("POST", "/v1/projects/default/datasets", stated, expect=201)

    def test_the_log_is_refused_by_a_reader_who_does_not_trust_its_maker(self, lab: Lab) -> None:
        apply(lab, SWEDEN_LEAVES)
        lab.seal()
        export = export_of(lab.context.store)
        stranger = Terms(trusted(CERTIFICATE_KEY.public), ATLASES)
        [fault] = replayed(export, CERTIFICATE_KEY.public, stranger).faults
        assert "not trusted here" in fault
        assert "--trust" in fault
        assert replayed(
            export, CERTIFICATE_KEY.public, Terms(trusted(CERTIFICATE_KEY.public), {}, atlas_keys=TRUSTED)
        ).ok


REFUSED: dict[str, tuple[bytes, Json, int, str]] = {
    "a changed byte": (SWEDEN_LEAVES + b" ", {"signature": offer(SWEDEN_LEAVES)["signature"]}, 422, "invalid"),
    "a key that is not trusted": (
        SWEDEN_LEAVES,
        {"signature": offer(SWEDEN_LEAVES, SigningKey.create())["signature"]},
        422,
        "invalid",
    ),
    "no signature": (SWEDEN_LEAVES, {"signature": None}, 422, "invalid"),
    "another digest than was confirmed": (SWEDEN_LEAVES, {"digest": "0" * 64}, 422, "invalid"),
    "the version that is in force": (changed(lambda _: None, "tests-2026-11"), {}, 409, "atlas_not_newer"),
    "an older version": (changed(lambda _: None, "tests-2025-12"), {}, 409, "atlas_not_newer"),
    "a version without a month": (changed(lambda _: None, "tests"), {}, 422, "invalid"),
    "a territory that is in use is gone": (changed(lacking("SE")), {}, 409, "atlas_lacks_names"),
    "a group that is in use is gone": (
        changed(lambda document: document["groups"].pop("EEA")),
        {},
        409,
        "atlas_lacks_names",
    ),
}


@pytest.mark.parametrize(("data", "body", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_come_into_force_changes_nothing(
    lab: Lab, data: bytes, body: Json, status: int, code: str
) -> None:
    before = lab.dump()
    assert apply(lab, data, expect=status, **body)["code"] == code
    assert lab.dump() == before


#: Described and touched by no pool yet, each with a territory that nothing else is in.
IDLE: dict[str, Json] = {
    "a company's presence": {
        "kind": "Entity",
        "name": "farallon",
        "seat": "FR",
        "presences": ["GU"],
        "owners": [],
    },
    "a region without pools": {
        "kind": "Region",
        "name": "gu-hag-1",
        "territory": "GU",
        "operator": "auvergne-calcul",
        "access_territories": ["FR"],
    },
}


@pytest.mark.parametrize("document", IDLE.values(), ids=IDLE)
def test_a_territory_of_what_no_pool_touches_yet_is_in_use(lab: Lab, document: Json) -> None:
    lab.apply(document)
    refused = apply(lab, changed(lacking("GU")), expect=409)
    assert refused["code"] == "atlas_lacks_names"
    assert document["name"] in refused["detail"]


def test_a_territory_where_a_reader_sits_is_in_use_while_the_key_counts(lab: Lab) -> None:
    made = lab.admin("POST", "/v1/organisations/home/keys", {"role": "viewer", "territory": "GU"}, expect=201).json()
    refused = apply(lab, changed(lacking("GU")), expect=409)
    assert (refused["code"], made["id"] in refused["detail"]) == ("atlas_lacks_names", True)
    lab.admin("DELETE", f"/v1/organisations/home/keys/{made['id']}", expect=204)
    apply(lab, changed(lacking("GU")))


def test_a_territory_of_a_policy_that_a_declassification_stands_on_is_in_use(lab: Lab) -> None:
    """Taken back, it would give the artifact that policy again."""
    lab.put("patients", "fr-bru-1", DATA)
    policy = {"process": ["EEA", "GU"]}
    job, region, run = lab.running(inputs=["dataset/patients"], outputs=["model"], policy=policy)
    region.end(run, outputs={"model": manifest(model__bin="1")})
    [model] = lab.show(job)["artifacts"]
    members, inside = Members.of(lab), "/v1/projects/default"
    evidence = {"digest": "b" * 64, "title": "t"}
    wish = {"policy": PATIENTS, "evidence": evidence, "basis": "b", "reason": "r", "ticket": "t"}
    one = lab.call("POST", f"{inside}/artifacts/{model['id']}:declassify", wish, key=members.asks, expect=201).json()
    for key in (members.first, members.second):
        path = f"{inside}/declassifications/{one['id']}:approve"
        lab.call("POST", path, {"digest": one["digest"]}, key=key, expect=200)
    refused = apply(lab, changed(lacking("GU")), expect=409)
    assert refused["code"] == "atlas_lacks_names"
    assert f"the policy before declassification {one['id']}" in refused["detail"]


def test_codes_are_read_by_the_atlas_that_is_in_force_when_they_are_stored(lab: Lab) -> None:
    other = lab.another_process()
    assert other.context.atlas.is_territory("GU")
    # Seen by nobody else yet: a process reads which one is in force when it looks.
    with lab.context.store.begin() as work:
        work.epoch.step()
        data = changed(lacking("GU"))
        work.atlases.add(AtlasToApply("tests-2027-01", digest(data), data, offer(data)["signature"]), by="t", at=START)
    principal = Principal(KeyId("key_t"), OrganisationId("org_t"), Role.ADMIN)
    with pytest.raises(PolicyError, match="GU"):
        apply_world(other.context, principal, [IDLE["a company's presence"]])


def test_what_is_no_atlas_is_refused_before_it_is_read(lab: Lab) -> None:
    for data in (b"", b"{}", b"[]", b"\xff"):
        body = {**offer(data), "digest": "0" * 64}
        assert lab.admin("POST", "/v1/atlas:apply", body, expect=422).json()["code"] == "invalid"
    lab.admin("POST", "/v1/atlas:apply", {"data": "*", "signature": {}, "digest": ""}, expect=422)


def test_what_is_in_force_may_be_applied_again_and_changes_nothing(lab: Lab) -> None:
    body = {**offer(default_atlas_bytes()), "signature": dict(packaged_signature()), "digest": default_atlas().digest}
    before = lab.dump()
    assert lab.admin("POST", "/v1/atlas:apply", body, expect=200).json()["is_newer"] is False
    assert lab.dump() == before


def test_law_that_moves_while_it_is_looked_at_is_a_conflict(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from nordan_api.atlas import service  # noqa: PLC0415

    looked = service.look

    def look(*words: Any) -> service.Looked:
        found = looked(*words)
        with lab.context.store.begin() as work:
            work.epoch.step()
        return found

    monkeypatch.setattr(service, "look", look)
    assert apply(lab, SWEDEN_LEAVES, expect=409)["code"] == "law_moved"
    assert lab.one("select count(*) from atlas") == 1


AMERICAN: Json = {
    "kind": "Entity",
    "name": "larkspur",
    "seat": "US",
    "presences": [],
    "owners": [],
    "attestations": [{"name": "dpf", "valid_until": "2026-11-22T00:00:00Z"}],
}
THERE: tuple[Json, ...] = (
    {
        "kind": "Region",
        "name": "us-ash-1",
        "territory": "US",
        "operator": "larkspur",
        "access_territories": ["US"],
    },
    {
        "kind": "Pool",
        "name": "us-ash-1-h100",
        "region": "us-ash-1",
        "provider": "larkspur",
        "accelerator": "H100",
        "gpu_memory_mib": 81_920,
        "nodes": 1,
        "gpus_per_node": 8,
        "cpus": 64,
        "memory_mib": 1_048_576,
        "price_eur_per_gpu_h": 2,
        "facts_valid_until": "2027-12-31",
    },
)


def test_a_company_that_a_decision_covers_is_adequate_until_its_attestation_ends(lab: Lab) -> None:
    policy = {"residency": ["EEA", "ADEQUATE"], "class": "public"}
    lab.admin("POST", "/v1/projects", {"name": "wide", "floor": policy}, expect=201)
    lab.admin("POST", "/v1/projects/wide/datasets", {"name": "open", "policy": policy}, expect=201)
    lab.apply({**AMERICAN, "attestations": []}, *THERE)

    def may_rest() -> bool:
        answer = lab.admin("GET", "/v1/projects/wide/datasets/open/where", expect=200).json()
        [there] = [one for one in answer["items"] if one["pool"] == "us-ash-1-h100"]
        return bool(there["rest"]["allowed"])

    assert not may_rest()
    lab.apply(AMERICAN)
    assert may_rest()
    lab.pass_time(24 * 3600)
    assert not may_rest()


def test_an_attestation_that_no_decision_asks_for_is_a_mistake(lab: Lab) -> None:
    answer = lab.apply({**AMERICAN, "attestations": [{"name": "privacy-shield"}]}, expect=422)
    assert "dpf" in str(answer)
