"""Who may enter a running attempt: judged like reading, each opening one act that the certificate tells of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nordan_core.identifiers import new_id
from nordan_core.proof.errors import TokenError
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.tokens import SessionClaims, mint_session, read_access, read_session
from support.certificates import failing
from support.lab import JOBS, PATIENTS, Lab
from support.region_side import RegionSide, Run, manifest

DATA = manifest(a__csv="1")
Json = dict[str, Any]
FRENCH = {"territory": "FR"}


def claims_of(lab: Lab, access: Json) -> SessionClaims:
    """Return what a gateway reads in the pass to a session."""
    return read_session(access["token"], keys=trusted(lab.context.grant_key.public), now=lab.clock.now())


def acts(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.rows(
        "select act, subject, body - 'session' - 'judged' from audit_entry where act like 'exec%' order by at, id"
    )


def _data_class(lab: Lab, klass: str, **changes: Any) -> tuple[str, RegionSide, Run]:
    """Bring a job to where it runs, on data of a class."""
    if klass == "internal":
        return lab.running(**changes)
    lab.put("patients", "fr-bru-1", DATA, {**PATIENTS, "class": klass})
    return lab.running(inputs=["dataset/patients"], **changes)


def _opened(lab: Lab, job: str, key: str | None = None, **body: Any) -> Json:
    answer: Json = lab.call("POST", f"{JOBS}/{job}:exec", body, key=key or lab.admin_key, expect=200).json()
    return answer


@pytest.mark.parametrize("klass", ["internal", "confidential", "restricted"])
@pytest.mark.parametrize(
    ("territory", "above", "have"),
    [("FR", 200, ""), ("SE", 200, ""), ("US", 422, "US"), (None, 422, "not recorded")],
)
def test_who_may_enter_is_judged_by_territory_and_class(
    lab: Lab, klass: str, territory: str | None, above: int, have: str
) -> None:
    """Unknown is denied above internal; either way there is one act, with who, where from, which attempt and rank."""
    job, _, run = _data_class(lab, klass)
    key = lab.key("home", "submitter", **({"territory": territory} if territory else {}))
    status = 200 if territory is None and klass == "internal" else above
    answer = lab.call("POST", f"{JOBS}/{job}:exec", {}, key=key, expect=status).json()
    told = {"attempt": run.attempt, "rank": 0, "territory": territory}
    if status == 200:
        assert acts(lab) == [("exec_opened", job, told)]
    else:
        assert acts(lab) == [("exec_refused", run.attempt, {**told, "reason": "rejected_by_policy"})]
        assert (answer["code"], answer["facet"], answer["have"]) == ("rejected_by_policy", "access", have)
        assert "token" not in answer


def test_a_viewer_may_read_the_log_and_not_enter(lab: Lab) -> None:
    """Inside a job one can do more than look."""
    job, _, _ = lab.running()
    key = lab.key("home", "viewer", **FRENCH)
    lab.call("GET", f"{JOBS}/{job}/logs", key=key, expect=200)
    assert lab.call("POST", f"{JOBS}/{job}:exec", {}, key=key, expect=403).json()["code"] == "forbidden"
    assert acts(lab) == []


def test_another_tenants_job_is_not_found(lab: Lab) -> None:
    """As one that is absent."""
    job, _, _ = lab.running()
    lab.admin("POST", "/v1/organisations", {"name": "other"}, expect=201)
    stranger = lab.key("other", "owner", **FRENCH)
    for name in (job, "job_00000000000000000000000000", "absent"):
        assert lab.call("POST", f"{JOBS}/{name}:exec", {}, key=stranger, expect=404).json()["code"] == "not_found"
    assert acts(lab) == []


def test_the_pass_is_for_one_rank_of_that_attempt_for_a_minute(lab: Lab) -> None:
    """At its region's gateway; it is no pass to anything else, nor is any other pass one to it."""
    job, region, run = lab.running(nodes=2)
    access = _opened(lab, job, rank=1)
    claims = claims_of(lab, access)
    assert (claims.audience, claims.attempt_id, claims.rank) == (f"gateway:{region.code}", run.attempt, 1)
    assert claims.session_id == access["session_id"]
    assert claims.subject == lab.admin("GET", "/v1/me").json()["key"]
    assert (claims.expires_at - lab.clock.now()).total_seconds() == 60.0
    assert access["url"] == f"http://127.0.0.1:1/{region.code}/v1/attempts/{run.attempt}/exec?rank=1"
    keys = trusted(lab.context.grant_key.public)
    with pytest.raises(TokenError):
        read_access(access["token"], keys=keys, now=lab.clock.now())
    log = lab.admin("GET", f"{JOBS}/{job}/logs", expect=200).json()
    with pytest.raises(TokenError):
        read_session(log["token"], keys=keys, now=lab.clock.now())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"attempt": 0}, "attempt"),
        ({"attempt": "1"}, "attempt"),
        ({"rank": -1}, "rank"),
        ({"rank": True}, "rank"),
        ({"rank": 10**9}, "rank"),
        ({"command": ["sh"]}, "command"),
        ({"renew": 1}, "renew"),
        ({"renew": "x", "rank": 0}, "renew"),
        ({"renew": "x"}, "renew"),
    ],
)
def test_a_wish_of_another_form_says_which_field(lab: Lab, body: Json, field: str) -> None:
    """Also a command: it is for the gateway, and no business of the control plane."""
    job, _, _ = lab.running()
    answer = lab.admin("POST", f"{JOBS}/{job}:exec", body, expect=422).json()
    assert answer["errors"][0]["field"] == field


def test_what_there_is_not_is_not_found_and_what_does_not_run_conflicts(lab: Lab) -> None:
    """Before the start, while it is being stopped, after the end; an earlier attempt as well."""
    waiting = lab.submit(name="waiting")
    lab.admin("POST", f"{JOBS}/{waiting}:exec", {}, expect=404)
    lab.cancel(waiting)
    placed = lab.place()
    region, run = lab.take(placed)
    path = f"{JOBS}/{placed}:exec"

    def code(**body: Any) -> str:
        return str(lab.admin("POST", path, body, expect=409).json()["code"])

    assert code() == "attempt_not_running"
    region.start(run)
    for body in ({"attempt": 2}, {"rank": 1}):
        lab.admin("POST", path, body, expect=404)
    region.end(run, "lost", reason="node_lost")
    lab.pass_time(61)
    lab.cycle()
    region, second = lab.take(placed)
    region.start(second)
    assert code(attempt=1) == "attempt_not_running"
    assert claims_of(lab, _opened(lab, placed)).attempt_id == second.attempt
    lab.cancel(placed, grace_s=600)
    assert code() == "attempt_not_running"
    region.end(second, "cancelled", reason="cancelled_by_user")
    assert code() == "attempt_not_running"
    assert len(acts(lab)) == 1


class TestGoingOn:
    """A pass is renewed by showing it, judged anew each time."""

    def test_a_renewal_is_the_same_session_and_no_new_act(self, lab: Lab) -> None:
        """Attempt and rank are those of the pass."""
        job, _, _ = lab.running(nodes=2)
        first = _opened(lab, job, rank=1)
        lab.clock.advance(30)
        second = _opened(lab, job, renew=first["token"])
        before, after = claims_of(lab, first), claims_of(lab, second)
        assert (after.session_id, after.attempt_id, after.rank) == (before.session_id, before.attempt_id, 1)
        assert (after.expires_at - before.expires_at).total_seconds() == 30.0
        assert len(acts(lab)) == 1

    def test_a_floor_that_became_tighter_ends_it(self, lab: Lab) -> None:
        """The attempt itself goes on; the refusal is an act."""
        job, _, run = lab.running()
        key = lab.key("home", "submitter", territory="NO")
        access = _opened(lab, job, key)
        sets = {facet: ["EEA"] for facet in ("process", "store", "describe", "key")}
        floor = {"class": "internal", "access": ["EU"], **sets}
        lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": floor})
        answer = lab.call("POST", f"{JOBS}/{job}:exec", {"renew": access["token"]}, key=key, expect=422).json()
        assert (answer["code"], answer["facet"]) == ("rejected_by_policy", "access")
        assert [act for act, _, _ in acts(lab)] == ["exec_opened", "exec_refused"]
        assert lab.one("select body ->> 'session' from audit_entry where act = 'exec_refused'") == access["session_id"]
        assert lab.one("select state from attempt where id = :id", id=run.attempt) == "running"

    def test_a_pass_that_expired_is_a_session_that_is_over(self, lab: Lab) -> None:
        """Another one has to be opened, which is an act."""
        job, _, _ = lab.running()
        access = _opened(lab, job)
        lab.clock.advance(66)
        answer = lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": access["token"]}, expect=409).json()
        assert answer["code"] == "session_over"

    def test_a_pass_of_somebody_else_or_of_another_job_is_none(self, lab: Lab) -> None:
        """Nor one that somebody signed himself."""
        job, _, _ = lab.running()
        access = _opened(lab, job)
        other = lab.key("home", "owner", **FRENCH)
        lab.call("POST", f"{JOBS}/{job}:exec", {"renew": access["token"]}, key=other, expect=422)
        second, _, _ = lab.running(name="second")
        lab.admin("POST", f"{JOBS}/{second}:exec", {"renew": access["token"]}, expect=404)
        forged = mint_session(claims_of(lab, access), SigningKey.create())
        lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": forged}, expect=422)
        assert len(acts(lab)) == 1

    def test_a_session_that_the_log_does_not_tell_of_does_not_go_on(self, lab: Lab) -> None:
        """However well its pass is signed: nobody would ever learn of it."""
        job, _, _ = lab.running()
        claims = claims_of(lab, _opened(lab, job))
        made_up = mint_session(replace(claims, session_id=new_id("exs")), lab.context.grant_key)
        lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": made_up}, expect=422)
        lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": mint_session(claims, lab.context.grant_key)}, expect=200)
        assert len(acts(lab)) == 1

    def test_an_attempt_that_was_fenced_is_not_entered_again(self, lab: Lab) -> None:
        """Neither by the old pass nor by a new one."""
        job, region, _ = _data_class(lab, "confidential")
        key = lab.key("home", "submitter", **FRENCH)
        access = _opened(lab, job, key)
        bought = {
            "kind": "Entity",
            "name": "auvergne-calcul",
            "seat": "FR",
            "presences": ["SE"],
            "owners": [
                {"owner": "pinecrest-ventures", "capital_percent": 100, "votes_percent": 100, "control": "veto"}
            ],
        }
        lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"}, bought)
        for body in ({"renew": access["token"]}, {}):
            answer = lab.call("POST", f"{JOBS}/{job}:exec", body, key=key, expect=422).json()
            assert answer["code"] == "fenced"
        region.sync()
        for body in ({"renew": access["token"]}, {}):
            answer = lab.call("POST", f"{JOBS}/{job}:exec", body, key=key, expect=409).json()
            assert answer["code"] == "attempt_not_running"


class TestTheCertificate:
    """Whoever was let in stands in it."""

    def test_it_tells_who_entered_when_and_from_where(self, lab: Lab) -> None:
        """And states as an assumption what no log can show."""
        job, region, run = _data_class(lab, "confidential")
        key = lab.key("home", "submitter", **FRENCH)
        _opened(lab, job, key)
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert report.certificate is not None
        entries = [one.entry for one in report.certificate.audit.entries]
        [entered] = [one for one in entries if one["act"] == "exec_opened"]
        who = lab.call("GET", "/v1/me", key=key).json()["key"]
        body = entered["body"]
        assert isinstance(body, dict)
        assert (entered["actor"], body["territory"], body["attempt"]) == (who, "FR", run.attempt)
        assert [one for one in report.assumptions if f"{who} in FR" in one] != []

    def test_without_a_session_nothing_is_said_of_any(self, lab: Lab) -> None:
        """Neither an entry nor an assumption."""
        job, region, run = lab.running()
        region.end(run)
        lab.seal()
        report = lab.verify(job)
        assert failing(report) == {}
        assert not any("let into" in one for one in report.assumptions)


@pytest.mark.parametrize(("ends_in_s", "lives_s"), [(20, 20), (60, 60), (90, 60)])
def test_a_pass_lives_no_longer_than_the_judges_word(lab: Lab, ends_in_s: float, lives_s: float) -> None:
    """Nor does one that goes on with a session: a region that is cut off would let somebody in until it ends."""
    ends = lab.clock.now() + timedelta(seconds=ends_in_s)
    job, _, _ = lab.running(policy={"process": ["FR"], "valid_until": ends.isoformat()})
    access = _opened(lab, job)
    assert (claims_of(lab, access).expires_at - lab.clock.now()).total_seconds() == lives_s
    lab.pass_time(10)
    renewed = claims_of(lab, _opened(lab, job, renew=access["token"])).expires_at
    assert renewed == min(ends, lab.clock.now() + timedelta(seconds=60))
