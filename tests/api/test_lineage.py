"""Where data went and may go: lines of descent, where they may run and rest, and the one way to a wider policy."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_api.jobs import service
from nordan_core.atlas.loader import default_atlas
from nordan_core.residency.policy import parse_policy, policy_digest, policy_document
from support.certificates import failing
from support.derogating import Members
from support.lab import JOBS, PATIENTS, Json, Lab
from support.region_side import manifest

P = "/v1/projects/default"
DATA = manifest(a__csv="1")
WIDER = {**PATIENTS, "residency": ["FR", "SE", "DE"]}
EVIDENCE = {"digest": "b" * 64, "title": "membership inference, report of May"}


def _made(lab: Lab, name: str, *inputs: str) -> tuple[str, str]:
    """Run a job that reads these and makes a model; return the job and the model."""
    job, region, run = lab.running(name=name, inputs=list(inputs), outputs=["model"])
    region.end(run, outputs={"model": manifest(model__bin=name)})
    [artifact] = lab.show(job)["artifacts"]
    return job, str(artifact["id"])


def _ask(lab: Lab, members: Members, artifact: str, *, expect: int = 201, **changes: Any) -> Json:
    body = {"policy": WIDER, "evidence": EVIDENCE, "basis": "contract", "reason": "r", "ticket": "t", **changes}
    answer: Json = lab.call(
        "POST", f"{P}/artifacts/{artifact}:declassify", body, key=members.asks, expect=expect
    ).json()
    return answer


def _say(lab: Lab, key: str, one: Json, verb: str, *, expect: int = 200) -> Json:
    body = {"digest": one["digest"]} if verb == "approve" else {}
    path = f"{P}/declassifications/{one['id']}:{verb}"
    answer: Json = lab.call("POST", path, body, key=key, expect=expect).json()
    return answer


def _revoke_key(lab: Lab, secret: str) -> None:
    key = lab.call("GET", "/v1/me", key=secret, expect=200).json()["key"]
    lab.admin("DELETE", f"/v1/organisations/home/keys/{key}", expect=204)


def _policy(lab: Lab, artifact: str) -> Json:
    policy: Json = lab.admin("GET", f"{P}/artifacts/{artifact}", expect=200).json()["policy"]
    return policy


def test_everything_made_of_a_dataset_is_found(lab: Lab) -> None:
    """At whatever remove, each once, with the steps that it took; and the way back."""
    version = lab.put("patients", "fr-bru-1", DATA)
    other = lab.put("staff", "fr-bru-1", manifest(b__csv="2"))
    _, first = _made(lab, "first", "dataset/patients")
    _, second = _made(lab, "second", f"artifact/{first}", "dataset/patients")
    _, apart = _made(lab, "apart", "dataset/staff")
    found = lab.admin("GET", f"{P}/datasets/patients/lineage", expect=200).json()
    assert {one["id"]: one["depth"] for one in found["derived"]} == {version: 0, first: 1, second: 1}
    assert found["sources"] == []
    of_second = lab.admin("GET", f"{P}/artifacts/{second}/lineage", expect=200).json()
    assert {one["id"]: one["depth"] for one in of_second["sources"]} == {first: 1, version: 1}
    of_apart = lab.admin("GET", f"{P}/artifacts/{apart}/lineage", expect=200).json()
    assert [one["id"] for one in of_apart["sources"]] == [other]


def test_where_a_dataset_may_run_and_rest(lab: Lab) -> None:
    """By pool, with the reasons; the same words as the judge's."""
    lab.put("patients", "fr-bru-1", DATA)
    items = lab.admin("GET", f"{P}/datasets/patients/where", expect=200).json()["items"]
    by_pool = {one["pool"]: one for one in items}
    assert {name for name, one in by_pool.items() if one["run"]["allowed"]} == {
        name for name in by_pool if name.startswith(("fr-", "se-"))
    }
    refused = {one["facet"] for one in by_pool["de-fra-1-h100"]["run"]["refusals"]}
    assert {"process", "forbid_exposure"} <= refused
    assert "process" not in {one["facet"] for one in by_pool["de-fra-1-h100"]["rest"]["refusals"]}


def test_an_empty_intersection_of_inputs_is_refused_with_both_named(lab: Lab) -> None:
    """Before anything is queued."""
    lab.put("french", "fr-bru-1", DATA, {**PATIENTS, "residency": ["FR"]})
    places = {**dict.fromkeys(("process", "store", "key"), ("SE",)), "describe": ["FR", "SE"], "access": ["FR", "SE"]}
    lab.put("swedish", "se-bor-1", DATA, {"class": "confidential", "egress": "unenforced", **places})
    body = {"name": "x", "command": ["x"], "inputs": ["dataset/french", "dataset/swedish"]}
    answer = lab.admin("POST", JOBS, body, expect=422).json()
    assert answer["code"] == "residency_unsatisfiable"
    assert "'french'" in answer["detail"]
    assert "'swedish'" in answer["detail"]


class TestDeclassification:
    """Dual control with evidence; nothing else makes an output wider than what it was made from."""

    @pytest.fixture
    def model(self, lab: Lab) -> str:
        """Return a model made of patients' data."""
        lab.put("patients", "fr-bru-1", DATA)
        return _made(lab, "first", "dataset/patients")[1]

    def test_two_approvals_give_it_another_policy(self, lab: Lab, model: str) -> None:
        """Not one; the epoch steps, the log has each act, the line of descent shows it, what is made of it is wider."""
        members, born = Members.of(lab), _policy(lab, model)
        one = _ask(lab, members, model)
        _say(lab, members.asks, one, "approve", expect=403)
        _say(lab, members.first, one, "approve")
        before = lab.one("select epoch from residency_epoch")
        assert _policy(lab, model) == born
        _say(lab, members.first, one, "approve", expect=403)
        assert _say(lab, members.second, one, "approve")["state"] == "approved"
        assert lab.one("select epoch from residency_epoch") == before + 1
        assert _policy(lab, model)["process"] == ["DE", "FR", "SE"]
        acts = [act for (act,) in lab.rows("select act from audit_entry where subject = :one", one=one["id"])]
        assert sorted(acts) == [*["declassification_approved"] * 2, "declassification_requested"]
        lines = lab.admin("GET", f"{P}/datasets/patients/lineage", expect=200).json()["derived"]
        assert [each["id"] for line in lines for each in line["declassifications"]] == [one["id"]]
        job, child = _made(lab, "second", f"artifact/{model}")
        assert _policy(lab, child)["process"] == ["DE", "FR", "SE"]
        lab.seal()
        assert failing(lab.verify(job)) == {}

    def test_taken_back_it_has_its_former_policy(self, lab: Lab, model: str) -> None:
        """And may be asked for again."""
        members, born = Members.of(lab), _policy(lab, model)
        one = _ask(lab, members, model)
        for key in (members.first, members.second):
            _say(lab, key, one, "approve")
        assert _say(lab, members.first, one, "revoke")["state"] == "revoked"
        assert _policy(lab, model) == born
        _say(lab, members.second, one, "approve", expect=409)

    def _given(self, lab: Lab, members: Members, model: str) -> Json:
        one = _ask(lab, members, model)
        for key in (members.first, members.second):
            _say(lab, key, one, "approve")
        return one

    @pytest.mark.parametrize("kind", ["Organisation", "Project"])
    def test_what_a_floor_closes_is_not_even_asked_for(self, lab: Lab, model: str, kind: str) -> None:
        """As it is with derogations; another facet may be."""
        floor = {"residency": ["FR", "SE", "DE"], "class": "internal", "non_derogable": ["process"]}
        names = {"name": "home"} if kind == "Organisation" else {"name": "default", "organisation": "home"}
        lab.apply({"kind": kind, **names, "floor": floor})
        answer = _ask(lab, Members.of(lab), model, expect=409)
        assert answer["code"] == "non_derogable"
        assert f"{kind.lower()} {names['name']} makes process non-derogable" in answer["detail"]
        kept = {**_policy(lab, model), "forbid_exposure": []}
        _ask(lab, Members.of(lab), model, policy=kept)

    def test_what_a_floor_closed_meanwhile_is_not_approved(self, lab: Lab, model: str) -> None:
        """Neither the first time nor the second."""
        members, born = Members.of(lab), _policy(lab, model)
        one, other = _ask(lab, members, model), _ask(lab, members, model)
        _say(lab, members.first, one, "approve")
        lab.apply({"kind": "Organisation", "name": "home", "floor": {"non_derogable": ["process"]}})
        assert _say(lab, members.second, one, "approve", expect=409)["code"] == "non_derogable"
        assert _say(lab, members.first, other, "approve", expect=409)["code"] == "non_derogable"
        assert _policy(lab, model) == born

    def test_who_approved_may_withdraw_their_own_word_before_the_second(self, lab: Lab, model: str) -> None:
        """As it is with derogations."""
        members, born = Members.of(lab), _policy(lab, model)
        one = _ask(lab, members, model)
        _say(lab, members.first, one, "approve")
        assert _say(lab, members.second, one, "withdraw", expect=409)["code"] == "not_approved"
        assert _say(lab, members.first, one, "withdraw")["approvals"] == []
        assert _say(lab, members.second, one, "approve")["state"] == "requested"
        assert _policy(lab, model) == born
        assert _say(lab, members.first, one, "approve")["state"] == "approved"
        assert _say(lab, members.first, one, "withdraw", expect=409)["code"] == "approved"
        acts = [act for (act,) in lab.rows("select act from audit_entry where subject = :one", one=one["id"])]
        assert acts.count("declassification_withdrawn") == 1

    def test_the_word_of_a_key_that_was_revoked_is_not_counted_to_two(self, lab: Lab, model: str) -> None:
        """As it is with derogations."""
        members, born = Members.of(lab), _policy(lab, model)
        one = _ask(lab, members, model)
        _say(lab, members.first, one, "approve")
        _revoke_key(lab, members.first)
        assert _say(lab, members.second, one, "approve")["state"] == "requested"
        assert _policy(lab, model) == born
        assert _say(lab, lab.key("home", "owner"), one, "approve")["state"] == "approved"

    def test_with_a_key_what_it_approved_is_taken_back(self, lab: Lab, model: str) -> None:
        """And what was given to the same artifact on top of that; what runs under it stops."""
        members, born = Members.of(lab), _policy(lab, model)
        one = self._given(lab, members, model)
        later = _ask(lab, members, model, policy={**WIDER, "residency": ["FR", "SE", "DE", "NO"]})
        for key in (lab.key("home", "owner"), lab.key("home", "owner")):
            _say(lab, key, later, "approve")
        job, _, _ = lab.running(name="running", inputs=[f"artifact/{model}"])
        _revoke_key(lab, members.second)
        for each in (one, later):
            assert lab.admin("GET", f"{P}/declassifications/{each['id']}").json()["state"] == "revoked"
        assert _policy(lab, model) == born
        [[reason]] = lab.rows("select stop_reason from attempt where job_id = :job", job=job)
        assert reason == "fenced"

    def test_taken_back_whatever_was_accepted_under_it_stops(self, lab: Lab, model: str) -> None:
        """Running, waiting or about to be resumed: nothing is made any more under what was taken back."""
        members = Members.of(lab)
        before, region, first = lab.running(name="before", inputs=[f"artifact/{model}"])
        one = self._given(lab, members, model)
        body = {"command": ["x"], "inputs": [f"artifact/{model}"], "outputs": ["model"]}
        running, _, run = lab.running(name="running", **{key: body[key] for key in ("inputs", "outputs")})
        waiting = lab.admin("POST", JOBS, {"name": "waiting", **body}, expect=202).json()["id"]
        _say(lab, members.first, one, "revoke")
        assert [lab.show(job)["state"] for job in (before, waiting)] == ["running", "fenced"]
        assert "taken back" in lab.show(waiting)["message"]
        region.end(run, outputs={"model": manifest(model__bin="wide")})
        assert lab.show(running)["state"] == "fenced"
        assert lab.show(running)["artifacts"] == []
        for job in (running, waiting):
            assert lab.retry(job, expect=409)["code"] == "input_narrowed"
        lab.cycle()
        assert lab.show(waiting)["attempts"] == []
        region.end(first)
        assert lab.show(before)["state"] == "succeeded"

    def test_taken_back_a_copy_under_way_is_not_made(self, lab: Lab) -> None:
        """Leave was given under the wider policy; the gateway hears no source, and a commit is refused."""
        lab.put("patients", "fr-bru-1", DATA, {**PATIENTS, "residency": ["FR"]})
        _, model = _made(lab, "first", "dataset/patients")
        members = Members.of(lab)
        one = self._given(lab, members, model)
        ask = f"{P}/artifacts/{model}:copy"
        leave = lab.admin("POST", ask, {"region": "se-bor-1"}, expect=201).json()["upload_id"]
        region = lab.region("se-bor-1")
        told = lab.worker("se-bor-1", "/worker/v1/uploads:source", {"upload_id": leave})
        _say(lab, members.first, one, "revoke")
        source = {"upload_id": leave}
        assert lab.worker("se-bor-1", "/worker/v1/uploads:source", source, expect=422)["code"] == "fenced"
        assert region.commit(leave, told["manifest"], expect=422)["code"] == "fenced"
        assert lab.admin("GET", f"{P}/artifacts/{model}").json()["regions"] == ["fr-bru-1"]

    def test_taken_back_while_a_job_is_judged_it_is_not_accepted(
        self, lab: Lab, model: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the judgement and the row."""
        members = Members.of(lab)
        one = self._given(lab, members, model)
        judged = service.judge_submission

        def slow(*given: Any) -> Any:
            of = judged(*given)
            _say(lab, members.first, one, "revoke")
            return of

        monkeypatch.setattr(service, "judge_submission", slow)
        answer = lab.admin("POST", JOBS, {"name": "x", "command": ["x"], "inputs": [f"artifact/{model}"]}, expect=409)
        assert answer.json()["code"] == "input_narrowed"
        assert lab.one("select count(*) from job where name = 'x'") == 0

    def test_a_text_about_another_policy_is_not_carried_out(self, lab: Lab, model: str) -> None:
        """Two asked for at once: the second was about a policy that is no longer there."""
        members = Members.of(lab)
        one, other = _ask(lab, members, model), _ask(lab, members, model, policy={"class": "internal"})
        for each, expect in ((one, 200), (other, 409)):
            _say(lab, members.first, each, "approve")
            _say(lab, members.second, each, "approve", expect=expect)
        assert _policy(lab, model)["process"] == ["DE", "FR", "SE"]

    def test_a_job_accepted_before_keeps_what_it_was_accepted_under(self, lab: Lab, model: str) -> None:
        """And its certificate still verifies."""
        members = Members.of(lab)
        job, region, run = lab.running(name="second", inputs=[f"artifact/{model}"])
        one = _ask(lab, members, model)
        for key in (members.first, members.second):
            _say(lab, key, one, "approve")
        region.end(run)
        lab.seal()
        assert failing(lab.verify(job)) == {}

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"policy": PATIENTS}, "to"),
            ({"policy": None}, "to"),
            ({"evidence": None}, "evidence"),
            ({"evidence": {"digest": "x", "title": "t"}}, "evidence.digest"),
        ],
    )
    def test_what_cannot_be_asked_for(self, lab: Lab, model: str, changes: Json, field: str) -> None:
        """No evidence, or nothing wider."""
        answer = _ask(lab, Members.of(lab), model, expect=422, **changes)
        assert answer["errors"][0]["field"] == field

    def test_a_dataset_is_not_declassified(self, lab: Lab) -> None:
        """Its policy is its owner's word, and stands as long as its owner lets it."""
        version = lab.put("patients", "fr-bru-1", DATA)
        _ask(lab, Members.of(lab), version, expect=422)


def test_every_version_of_a_policy_is_kept_with_its_author(lab: Lab) -> None:
    """Floors and datasets; what is stated again is no new version, and who cannot see the project sees nothing."""
    author = lab.admin("GET", "/v1/me").json()["key"]
    wider = {"residency": ["EU"], "class": "internal"}
    for _ in range(2):
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": wider})
    lab.apply({"kind": "Organisation", "name": "home", "floor": {"forbid_exposure": ["US"]}})
    lab.put("patients", "fr-bru-1", DATA)
    found = lab.admin("GET", f"{P}/policies", expect=200).json()["items"]
    assert {(one["kind"], one["number"]) for one in found} == {
        *(("project", number) for number in (1, 2)),
        ("organisation", 1),
        ("dataset", 1),
    }
    newest = next(one for one in found if one["kind"] == "project")
    stated = policy_document(parse_policy(wider, default_atlas()))
    assert (newest["number"], newest["policy"], newest["author"]) == (2, stated, author)
    assert newest["digest"] == policy_digest(parse_policy(wider, default_atlas()))
    lab.admin("POST", "/v1/organisations", {"name": "tenant"}, expect=201)
    lab.call("GET", f"{P}/policies", key=lab.key("tenant", "owner"), expect=404)
