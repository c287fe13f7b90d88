"""Derogations over a job's whole life: who may grant them, what they let run, and that they end what they began."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from nordan_core.domain.ids import KeyId
from nordan_core.proof.keys import trusted
from nordan_core.proof.tokens import read_renewal
from support.certificates import failing
from support.derogating import DEROGATIONS, Members, a_wish
from support.lab import BOUGHT, PATIENTS, Lab
from support.region_side import manifest
from support.soundness import assert_sound

DATA = manifest(a__csv="1")


@pytest.fixture(autouse=True)
def _control_plane_of_somebody_else(lab: Lab) -> None:
    """So that what happens to the operator of pools leaves the control plane lawful."""
    lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})


@pytest.fixture
def members(lab: Lab) -> Members:
    """Return three members."""
    return Members.of(lab)


def _epoch(lab: Lab) -> int:
    return int(lab.one("select epoch from residency_epoch"))


def _entries(lab: Lab, act: str) -> int:
    return int(lab.one("select count(*) from audit_entry where act = :act", act=act))


def _key_id(lab: Lab, secret: str) -> str:
    return str(lab.call("GET", "/v1/me", key=secret, expect=200).json()["key"])


def _revoke_key(lab: Lab, key: str) -> None:
    lab.admin("DELETE", f"/v1/organisations/home/keys/{key}", expect=204)


def _renewed(lab: Lab, down: dict[str, Any]) -> list[str]:
    claims = read_renewal(down["renewal"], keys=trusted(lab.context.grant_key.public))
    return [one.attempt_id for one in claims.items]


def _patients(lab: Lab) -> dict[str, Any]:
    lab.put("patients", "fr-bru-1", DATA)
    return {"inputs": ["dataset/patients"]}


class TestDualControl:
    """One asks, two others approve the digest of the exact text."""

    def test_it_counts_from_the_second_approval_on(self, lab: Lab, members: Members) -> None:
        """Asking and the first approval change nothing; the second steps the epoch. One entry for each act."""
        before = _epoch(lab)
        asked = members.ask()
        assert (asked["state"], asked["uses"], asked["text"]["requested_by"]) == ("requested", 0, asked["requested_by"])
        assert members.approve(asked, members.first)["state"] == "requested"
        assert _epoch(lab) == before
        granted = members.approve(asked, members.second)
        assert (granted["state"], len(granted["approvals"])) == ("approved", 2)
        assert _epoch(lab) == before + 1
        assert (_entries(lab, "derogation_requested"), _entries(lab, "derogation_approved")) == (1, 2)
        members.revoke(granted)
        assert members.revoke(granted)["state"] == "revoked"
        assert _epoch(lab) == before + 2
        assert _entries(lab, "derogation_revoked") == 1
        [listed] = lab.call("GET", DEROGATIONS, key=members.asks, expect=200).json()["items"]
        assert listed == members.show(granted)

    def test_who_asked_cannot_approve(self, members: Members) -> None:
        """Not even for the second time."""
        asked = members.ask()
        assert members.approve(asked, members.asks, expect=403)["code"] == "forbidden"
        members.approve(asked, members.first)
        members.approve(asked, members.asks, expect=403)
        assert members.show(asked)["state"] == "requested"

    def test_nobody_approves_twice(self, members: Members) -> None:
        """Two approvals are two members."""
        asked = members.ask()
        members.approve(asked, members.first)
        members.approve(asked, members.first, expect=403)

    @pytest.mark.parametrize("maker", ["asks", "first"])
    def test_a_key_that_a_member_made_is_that_member(self, lab: Lab, members: Members, maker: str) -> None:
        """At whatever remove: an owner may make keys, but no other members."""
        asked = members.ask()
        members.approve(asked, members.first)
        path = "/v1/organisations/home/keys"
        child = lab.call("POST", path, {"role": "owner"}, key=getattr(members, maker), expect=201).json()["key"]
        grandchild = lab.call("POST", path, {"role": "owner"}, key=child, expect=201).json()["key"]
        for key in (child, grandchild):
            members.approve(asked, key, expect=403)
        assert members.approve(asked, members.second)["state"] == "approved"

    def test_a_key_of_an_administrator_is_a_member_of_its_own(self, lab: Lab) -> None:
        """As is every key that an administrator handed out."""
        secret = lab.key("home", "owner")
        key, admin = (KeyId(lab.call("GET", "/v1/me", key=one).json()["key"]) for one in (secret, lab.admin_key))
        with lab.context.store.begin() as work:
            assert (work.tenants.member_of(key), work.tenants.member_of(admin)) == (key, admin)

    def test_one_person_with_two_keys_has_one_word(self, lab: Lab, members: Members) -> None:
        """An administrator who hands somebody a second key says so: for whoever asked as for whoever approved."""
        asked = members.ask()
        members.approve(asked, members.first)
        for whose in (members.asks, members.first):
            second = lab.key("home", "owner", territory="FR", member=_key_id(lab, whose))
            third = lab.key("home", "owner", territory="FR", member=_key_id(lab, second))
            for key in (second, third):
                members.approve(asked, key, expect=403)
        assert members.approve(asked, members.second)["state"] == "approved"

    def test_only_an_administrator_says_whose_a_key_is(self, lab: Lab, members: Members) -> None:
        """And only of keys of that organisation."""
        path, first = "/v1/organisations/home/keys", _key_id(lab, members.first)
        lab.call("POST", path, {"role": "owner", "member": first}, key=members.second, expect=403)
        lab.admin("POST", "/v1/organisations", {"name": "tenant"}, expect=201)
        for member in (_key_id(lab, lab.key("tenant", "owner")), "key_absent", 7):
            lab.admin("POST", path, {"role": "owner", "member": member}, expect=404)

    def test_who_approved_may_withdraw_their_own_word_before_the_second(self, lab: Lab, members: Members) -> None:
        """The request stays; two words are needed then, and one's own may be given again."""
        before, asked = _epoch(lab), members.ask()
        members.approve(asked, members.first)
        left = members.withdraw(asked, members.first)
        assert (left["state"], left["approvals"]) == ("requested", [])
        assert members.show(asked) == left
        assert members.approve(asked, members.second)["state"] == "requested"
        assert members.approve(asked, members.first)["state"] == "approved"
        assert (_epoch(lab), _entries(lab, "derogation_withdrawn")) == (before + 1, 1)

    def test_nobody_withdraws_what_is_not_theirs_to_withdraw(self, lab: Lab, members: Members) -> None:
        """Another member's word, one that was never given, or one that counts or is revoked already."""
        asked = members.ask()
        members.approve(asked, members.first)
        for key in (members.second, members.asks):
            assert members.withdraw(asked, key, expect=409)["code"] == "not_approved"
        lab.admin("POST", "/v1/organisations", {"name": "tenant"}, expect=201)
        members.withdraw(asked, lab.key("tenant", "admin"), expect=403)
        members.withdraw(asked, lab.key("tenant", "owner"), expect=404)
        assert len(members.show(asked)["approvals"]) == 1
        granted = members.grant()
        assert members.withdraw(granted, members.first, expect=409)["code"] == "approved"
        assert members.show(granted)["state"] == "approved"
        members.revoke(asked)
        assert members.withdraw(asked, members.first, expect=409)["code"] == "revoked"
        assert _entries(lab, "derogation_withdrawn") == 0

    def test_another_key_of_the_same_member_withdraws_it_too(self, lab: Lab, members: Members) -> None:
        """And the log says whose word it was, and who took it back."""
        asked, first = members.ask(), _key_id(lab, members.first)
        members.approve(asked, members.first)
        other = lab.key("home", "owner", member=first)
        assert members.withdraw(asked, other)["approvals"] == []
        [[actor, body]] = lab.rows("select actor, body from audit_entry where act = 'derogation_withdrawn'")
        assert (actor, body["approved_by"], body["approvals"]) == (_key_id(lab, other), first, 0)

    def test_the_word_of_a_key_that_was_revoked_is_not_counted_to_two(self, lab: Lab, members: Members) -> None:
        """Two others have to approve then; whoever lost the key may do so with another one."""
        asked = members.ask()
        members.approve(asked, members.first)
        first = _key_id(lab, members.first)
        _revoke_key(lab, first)
        answer = members.approve(asked, members.second)
        assert (answer["state"], [one["by"] for one in answer["approvals"]]) == (
            "requested",
            [_key_id(lab, members.second)],
        )
        assert members.approve(asked, lab.key("home", "owner", member=first))["state"] == "approved"

    def test_with_a_key_what_it_approved_is_taken_back(self, lab: Lab, members: Members) -> None:
        """What runs by it is stopped at the next sync; what another key approved stands."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        granted, other = members.grant(), members.ask()
        spare = lab.key("home", "owner")
        for key in (members.second, spare):
            members.approve(other, key)
        _, region, _ = lab.running(**wanted)
        _revoke_key(lab, _key_id(lab, lab.key("home", "owner")))
        assert region.sync()["stop"] == []
        before = _epoch(lab)
        _revoke_key(lab, _key_id(lab, members.first))
        assert [members.show(one)["state"] for one in (granted, other)] == ["revoked", "approved"]
        assert _epoch(lab) == before + 1
        assert _entries(lab, "derogation_revoked") == 1
        assert region.sync()["stop"] == [], "the other one carries it"
        _revoke_key(lab, _key_id(lab, spare))
        assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]

    def test_an_administrator_of_another_organisation_cannot_approve(self, lab: Lab, members: Members) -> None:
        """Whoever runs the platform has no say in whose data it is."""
        lab.admin("POST", "/v1/organisations", {"name": "tenant"}, expect=201)
        other = lab.key("tenant", "admin")
        asked = members.ask()
        members.approve(asked, other, expect=403)
        strangers = Members.of(lab, "tenant")
        members.approve(asked, strangers.first, expect=404)

    def test_only_the_text_that_was_read_is_approved(self, members: Members) -> None:
        """Without its digest nothing is; with another one neither."""
        asked, other = members.ask(), members.ask(reason="another one")
        assert (
            members.approve(asked, members.first, expect=422, digest=other["digest"])["errors"][0]["field"] == "digest"
        )
        members.approve(asked, members.first, expect=422, digest=None)
        assert members.show(asked)["approvals"] == []

    def test_what_is_over_is_not_approved(self, lab: Lab, members: Members) -> None:
        """Revoked, expired, or approved enough."""
        revoked, old = members.ask(), members.ask(not_after=(lab.clock.now() + timedelta(hours=1)).isoformat())
        members.revoke(revoked)
        members.approve(revoked, members.first, expect=409)
        lab.clock.advance(3600)
        assert members.show(old)["state"] == "expired"
        members.approve(old, members.first, expect=409)
        granted = members.grant()
        members.approve(granted, lab.key("home", "owner"), expect=409)

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"facet": "class", "to": "public"}, 422),
            ({"subjects": ["dataset/absent"]}, 404),
            ({"subjects": ["job/absent"]}, 404),
            ({"subjects": ["project/other"]}, 404),
            ({"subjects": ["dataset/*"]}, 422),
            ({"not_after": "2020-01-01T00:00:00Z"}, 422),
            ({"not_after": None}, 422),
            ({"surprise": 1}, 422),
        ],
    )
    def test_what_cannot_be_asked_for(self, members: Members, changes: dict[str, Any], status: int) -> None:
        """The text is checked when it is asked for."""
        members.ask(expect=status, **changes)

    def test_its_length_is_bounded(self, lab: Lab, members: Members) -> None:
        """Thirty days; four hours behind glass."""
        now = lab.clock.now()
        for days, glass, status in ((31, False, 422), (30, False, 201), (1, True, 422)):
            members.ask(expect=status, not_after=(now + timedelta(days=days)).isoformat(), break_glass=glass)
        members.ask(not_after=(now + timedelta(hours=4)).isoformat(), break_glass=True)

    def test_a_facet_that_somebody_closed_is_not_even_asked_for(self, lab: Lab, members: Members) -> None:
        """The data's owner, or a floor."""
        policy = {**PATIENTS, "non_derogable": ["forbid_exposure"]}
        lab.put("patients", "fr-bru-1", DATA, policy)
        answer = members.ask(expect=409, subjects=["dataset/patients"])
        assert answer["code"] == "non_derogable"
        members.ask(subjects=["dataset/patients"], facet="certifications", to={})
        lab.apply({"kind": "Organisation", "name": "home", "floor": {"non_derogable": ["certifications"]}})
        members.ask(expect=409, facet="certifications", to={})


class TestWhatItLetsRun:
    """Judged at submission, at apply, at redeem and at renewal."""

    def test_what_an_attempt_once_rested_on_is_remembered(self, lab: Lab, members: Members) -> None:
        """Bought, sold back, bought again while it runs: one use, which its certificate names."""
        granted = members.grant(max_uses=1)
        job, region, run = lab.running(**_patients(lab))
        home = {"owner": "caisse-du-rhone", "capital_percent": 100, "votes_percent": 100, "control": "none"}
        for owned in (BOUGHT, {**BOUGHT, "owners": [home]}, BOUGHT, {**BOUGHT, "owners": [home]}):
            lab.apply(owned)
            assert region.sync()["stop"] == []
            assert members.show(granted)["uses"] == 1
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        assert [one.digest for one in report.certificate.derogations] == [granted["digest"]]

    @pytest.mark.parametrize("subject", ["project/default", "dataset/patients"])
    def test_a_job_runs_by_it_and_its_certificate_says_so(self, lab: Lab, members: Members, subject: str) -> None:
        """Refused without, accepted with; one use; verified offline with the text and who approved it."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        lab.admin("POST", "/v1/projects/default/jobs", {"name": "x", "command": ["x"], **wanted}, expect=422)
        granted = members.grant(subjects=[subject])
        job, region, run = lab.running(**wanted)
        assert members.show(granted)["uses"] == 1
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        [listed] = report.certificate.derogations
        assert (listed.digest, len(listed.approvals)) == (granted["digest"], 2)
        assert any(granted["id"] in gap for gap in report.gaps)
        assert members.show(granted)["uses"] == 1
        path = f"/v1/projects/default/jobs/{job}/certificate?redacted=true"
        lab.admin("GET", path)
        lab.seal()
        refused = lab.admin("GET", path, expect=409).json()
        assert refused["code"] == "not_redacted", "its text names the project, what it covers, and people"
        assert_sound(lab)

    def test_without_need_none_is_used(self, lab: Lab, members: Members) -> None:
        """What is lawful by the policy alone says nothing of derogations."""
        granted = members.grant()
        job, region, run = lab.running(**_patients(lab))
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        assert report.certificate.derogations == ()
        assert members.show(granted)["uses"] == 0

    def test_a_job_that_waits_gets_one_of_its_own(self, lab: Lab, members: Members) -> None:
        """And no other job does."""
        wanted = _patients(lab)
        job, other = lab.submit(**wanted), lab.submit(**wanted)
        lab.apply(BOUGHT)
        assert lab.cycle().placed == 0
        members.grant(subjects=[f"job/{job}"])
        assert lab.cycle().placed == 1
        assert (lab.state(job), lab.state(other)) == ("starting", "queued")

    def test_uses_are_counted(self, lab: Lab, members: Members) -> None:
        """Of two jobs in one chunk, one starts; the other waits and says why."""
        wanted = _patients(lab)
        jobs = [lab.submit(**wanted), lab.submit(**wanted)]
        lab.apply(BOUGHT)
        granted = members.grant(max_uses=1)
        assert lab.cycle().placed == 1
        assert lab.cycle().placed == 0
        assert sorted(lab.state(job) for job in jobs) == ["queued", "starting"]
        assert (members.show(granted)["uses"], members.show(granted)["state"]) == (1, "used_up")

    def test_it_ends_what_runs_when_it_ends(self, lab: Lab, members: Members) -> None:
        """The word that was said names the instant; from then on the attempt is fenced."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        granted = members.grant(not_after=(lab.clock.now() + timedelta(hours=1)).isoformat())
        job, region, _ = lab.running(**wanted)
        until = lab.one("select verdicts -> 'redeem' ->> 'good_until' from attempt")
        assert until.replace("+00:00", "Z") == granted["text"]["not_after"].replace("+00:00", "Z")
        lab.pass_time(3590)
        assert region.sync()["stop"] == []
        lab.pass_time(10)
        assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]
        assert members.show(granted)["state"] == "expired"
        assert_sound(lab)
        assert lab.show(job)["state"] != "succeeded"

    def test_it_ends_between_apply_and_redeem_too(self, lab: Lab, members: Members) -> None:
        """No spec leaves the control plane after its end."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        members.grant(not_after=(lab.clock.now() + timedelta(minutes=1)).isoformat())
        job = lab.place(**wanted)
        grant, code = lab.grant_of(job)
        lab.clock.advance(60)
        assert lab.region(code).redeem(grant)["outcome"] == "refused"
        assert lab.state(job) == "fenced"

    def test_taken_back_it_ends_at_once(self, lab: Lab, members: Members) -> None:
        """At the next sync, as any change of law."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        granted = members.grant()
        _, region, _ = lab.running(**wanted)
        members.revoke(granted)
        assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]

    def test_a_running_attempt_takes_one_when_the_law_leaves_it(self, lab: Lab, members: Members) -> None:
        """Once, however often it is judged again; and nothing stops."""
        granted = members.grant(max_uses=1)
        job, region, run = lab.running(**_patients(lab))
        lab.apply(BOUGHT)
        assert region.sync()["stop"] == []
        lab.apply({"kind": "Entity", "name": "newcomer", "seat": "PT"})
        assert region.sync()["stop"] == []
        assert members.show(granted)["uses"] == 1
        region.end(run)
        lab.seal()
        assert failing(lab.verify(job)) == {}

    def test_no_third_is_used_where_two_are_enough(self, lab: Lab, members: Members) -> None:
        """When it is placed, as when law moves while it runs."""
        wanted = {**_patients(lab), "policy": {"evidence": "E4"}}
        lab.apply(BOUGHT)
        needless, exposed, unproved = (
            members.grant(facet="certifications", to={}),
            members.grant(),
            members.grant(facet="evidence", to="E0"),
        )
        _, region, _ = lab.running(**wanted)
        assert [members.show(one)["uses"] for one in (needless, exposed, unproved)] == [0, 1, 1]
        lab.place(**wanted)
        assert [members.show(one)["uses"] for one in (needless, exposed, unproved)] == [0, 2, 2]
        assert region.sync()["stop"] == []

    def test_no_third_is_used_at_renewal_either(self, lab: Lab, members: Members) -> None:
        """What ran by the law alone takes what it needs when that moves."""
        wanted = _patients(lab)
        needless, unproved, exposed = (
            members.grant(facet="certifications", to={}),
            members.grant(facet="evidence", to="E0"),
            members.grant(),
        )
        _, region, _ = lab.running(**wanted)
        floor = {"evidence": "E4", "class": "internal", "residency": ["FR", "SE"]}
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor}, BOUGHT)
        assert region.sync()["stop"] == []
        assert [members.show(one)["uses"] for one in (needless, unproved, exposed)] == [0, 1, 1]

    def test_while_another_act_uses_it_only_who_needs_it_waits(self, lab: Lab, members: Members) -> None:
        """The region's other attempts go on; what needs it is neither stopped nor renewed, until its next word."""
        wanted = _patients(lab)
        needing, region, run = lab.running(name="needing", **wanted)
        other, code = lab.place(name="other", policy={"process": ["FR"]}), "fr-bru-1"
        assert lab.grant_of(other)[1] == region.code == code
        beside = region.take(lab.grant_of(other)[0])
        region.start(beside)
        granted = members.grant(max_uses=1)
        lab.apply(BOUGHT)
        lab.pass_time(40)
        with lab.engine.begin() as connection:
            connection.execute(text("select id from derogation for update"))
            down = region.sync()
        assert _renewed(lab, down) == [beside.attempt]
        assert (down["stop"], down["unknown"], members.show(granted)["uses"]) == ([], [], 0)
        down = region.sync()
        assert _renewed(lab, down) == [run.attempt]
        assert (down["stop"], members.show(granted)["uses"]) == ([], 1)
        assert lab.state(needing) == "running"

    def test_a_floor_that_closes_the_facet_ends_it(self, lab: Lab, members: Members) -> None:
        """Derogations never stand above `non_derogable`, whenever that was said."""
        wanted = _patients(lab)
        lab.apply(BOUGHT)
        members.grant()
        _, region, _ = lab.running(**wanted)
        lab.apply({"kind": "Organisation", "name": "home", "floor": {"non_derogable": ["forbid_exposure"]}})
        assert [one["reason"] for one in region.sync()["stop"]] == ["fenced"]

    def test_it_is_for_its_project_alone(self, lab: Lab, members: Members) -> None:
        """Another project's jobs wait."""
        lab.admin("POST", "/v1/projects", {"name": "second"}, expect=201)
        lab.put("patients", "fr-bru-1", DATA, project="second")
        members.grant()
        lab.submit(project="second", inputs=["dataset/patients"])
        lab.apply(BOUGHT)
        assert lab.cycle().placed == 0

    def test_data_may_be_put_and_read_while_it_lasts(self, lab: Lab, members: Members) -> None:
        """And not before or after."""
        path = "/v1/projects/default/datasets"
        lab.put("patients", "fr-bru-1", DATA)
        lab.apply(BOUGHT)
        put = {"region": "fr-bru-1"}
        lab.admin("POST", f"{path}/patients:put", put, expect=422)
        granted = members.grant(subjects=["dataset/patients"])
        access = lab.admin("POST", f"{path}/patients:put", put, expect=201).json()
        stored = lab.region("fr-bru-1").commit(access["upload_id"], manifest(b__csv="2"))
        read = f"/v1/projects/default/artifacts/{stored['artifact_id']}:read"
        lab.call("POST", read, {}, key=members.asks, expect=200)
        members.revoke(granted)
        lab.admin("POST", f"{path}/patients:put", put, expect=422)
        assert lab.call("POST", read, {}, key=members.asks, expect=422).json()["code"] == "fenced"


def test_a_viewer_sees_what_was_asked_and_cannot_ask(lab: Lab, members: Members) -> None:
    """Visible to everybody in the project at once; a body is checked only for who may send it."""
    asked = members.ask()
    viewer = lab.key("home", "viewer")
    shown = lab.call("GET", f"{DEROGATIONS}/{asked['id']}", key=viewer, expect=200).json()
    assert shown == asked
    lab.call("POST", DEROGATIONS, a_wish(lab), key=viewer, expect=403)
