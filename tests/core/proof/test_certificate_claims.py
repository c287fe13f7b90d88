"""Lies that a holder of the certificate key could sign: each is caught by the check that it should be caught by."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nordan_core.domain.states import AttemptResult
from nordan_core.proof.certificate import complete
from nordan_core.proof.keys import SigningKey
from nordan_core.proof.records import AttemptRecord, Certificate
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.facts import facts_document
from support.certificates import (
    ATLAS,
    Story,
    a_grant,
    a_pool,
    acts_of,
    an_effective,
    digest,
    failing,
    logged,
    verified,
    with_attempt,
)

HONEST = Story().certificate()
Lie = Callable[[Certificate], Certificate]


def attempt(**changes: Any) -> Lie:  # Any: fields of any record
    return lambda paper: with_attempt(paper, 2, lambda one: replace(one, **changes))


def place(**changes: Any) -> Lie:
    return lambda paper: with_attempt(paper, 2, lambda one: replace(one, place=replace(one.place, **changes)))


def judged(stage: int, **changes: Any) -> Lie:
    def change(one: AttemptRecord) -> AttemptRecord:
        judgements = list(one.judgements)
        judgements[stage] = replace(judgements[stage], **changes)
        return replace(one, judgements=tuple(judgements))

    return lambda paper: with_attempt(paper, 2, change)


def job(**changes: Any) -> Lie:
    return lambda paper: replace(paper, job=replace(paper.job, **changes))


def output(**changes: Any) -> Lie:
    return lambda paper: replace(paper, outputs=(replace(paper.outputs[0], **changes),))


def entry(place: int, **changes: Any) -> Lie:
    def lie(paper: Certificate) -> Certificate:
        entries = list(paper.audit.entries)
        entries[place] = replace(entries[place], **changes)
        return replace(paper, audit=replace(paper.audit, entries=tuple(entries)))

    return lie


def told(place: int, **changes: object) -> Lie:
    """Change the body of a logged act and seal it: the log itself lies."""

    def lie(paper: Certificate) -> Certificate:
        acts = acts_of(paper)
        body = acts[place]["body"]
        assert isinstance(body, dict)
        acts[place] = {**acts[place], "body": {**body, **changes}}
        return logged(paper, acts)

    return lie


def without_act(place: int) -> Lie:
    return lambda paper: logged(paper, acts_of(paper)[:place] + acts_of(paper)[place + 1 :])


def doubled_act(place: int) -> Lie:
    return lambda paper: logged(paper, [*acts_of(paper), acts_of(paper)[place]])


def without_attempt(number: int) -> Lie:
    return lambda paper: replace(paper, attempts=tuple(one for one in paper.attempts if one.number != number))


def with_grant(**claims: Any) -> Lie:
    return lambda paper: with_attempt(paper, 2, lambda one: replace(one, grant=a_grant(one, **claims)))


def entered(after_s: float = 1.0, **body: object) -> Lie:
    """Log that somebody was let into the second attempt, and own up to it."""

    def lie(paper: Certificate) -> Certificate:
        one = paper.attempts[1]
        assert one.started_at is not None
        told = {"attempt": one.attempt_id, "rank": 0, "territory": "FR", "session": "exs_1", **body}
        at = one.started_at + timedelta(seconds=after_s)
        act = {**acts_of(paper)[0], "act": "exec_opened", "actor": "key_1", "at": at.isoformat(), "body": told}
        return complete(logged(paper, [*acts_of(paper), act]), ATLAS)

    return lie


LIES: dict[str, tuple[str, Lie]] = {
    "the atlas is another": ("atlas", lambda p: replace(p, versions=replace(p.versions, atlas_digest=digest("x")))),
    "one judgement was under another atlas": ("atlas", judged(1, atlas_digest=digest("x"))),
    "the log has no signed head": ("checkpoint", lambda p: replace(p, audit=replace(p.audit, checkpoint={}))),
    "an entry's salt is another": ("entries", entry(2, salt="00" * 16)),
    "an entry's salt is no hex": ("entries", entry(2, salt="zz")),
    "an entry's salt is too short": ("entries", entry(2, salt="")),
    "an entry lies elsewhere": ("entries", entry(2, index=0)),
    "an entry lies beyond the log": ("entries", entry(2, index=10**9)),
    "an entry's proof is cut": ("entries", entry(2, proof=())),
    "an entry tells something else": ("entries", entry(2, entry={**HONEST.audit.entries[2].entry, "actor": "x"})),
    "an entry is shown twice": (
        "entries",
        lambda p: replace(p, audit=replace(p.audit, entries=(*p.audit.entries, p.audit.entries[0]))),
    ),
    "the job's acceptance is not logged": ("acts", without_act(0)),
    "the job was accepted twice": ("acts", doubled_act(0)),
    "the job was accepted under another policy": ("acts", told(0, policy_digest=digest("x"))),
    "a grant is not logged": ("acts", without_act(4)),
    "a redemption is not logged": ("acts", without_act(5)),
    "an end is not logged": ("acts", without_act(7)),
    "an attempt was redeemed twice": ("acts", doubled_act(5)),
    "the log has another region": ("acts", told(4, region="de-fra-1")),
    "the log has another pool": ("acts", told(5, pool="de-fra-1-h100")),
    "the log has another fence": ("acts", told(7, fence=1)),
    "the log has another result": ("acts", told(7, result="failed")),
    "the log has another policy": ("acts", told(4, policy_digest=digest("x"))),
    "the log has another epoch": ("acts", told(5, epoch=6)),
    "the log has another version of the facts": ("acts", told(5, facts_version=2)),
    "the log has other facts": ("acts", told(4, verdict={"epoch": 7, "facts": digest("x")})),
    "an output is not logged": ("acts", without_act(6)),
    "an output has other bytes": ("acts", told(6, digest=digest("x"))),
    "an output is left out": ("acts", lambda p: replace(p, outputs=())),
    "the log tells of an attempt that is left out": ("acts", without_attempt(2)),
    "an attempt in the middle is left out": ("acts", without_attempt(1)),
    "the entries are those of another job": ("acts", job(id="job_2")),
    "an attempt says that it was never redeemed": ("acts", attempt(redeemed_at=None, grant=None)),
    "an attempt ended at another time": ("acts", attempt(ended_at=HONEST.attempts[1].ended_at - timedelta(seconds=9))),
    "an attempt claims another fence": ("acts", attempt(fence=9)),
    "an attempt ended before it began": ("order", attempt(started_at=HONEST.job.finished_at + timedelta(hours=1))),
    "an attempt started without a redemption": ("order", attempt(redeemed_at=None)),
    "the job was submitted after it ran": ("order", job(submitted_at=HONEST.job.finished_at)),
    "a grant is missing": ("grants", attempt(grant=None)),
    "a grant is no token": ("grants", attempt(grant="abc")),
    "a grant is of a foreign key": (
        "grants",
        lambda p: with_attempt(p, 2, lambda one: replace(one, grant=a_grant(one, SigningKey.create()))),
    ),
    "a grant is that of another attempt": ("grants", attempt(grant=HONEST.attempts[0].grant)),
    "a grant was for another region": ("grants", with_grant(region="de-fra-1")),
    "a grant was for another pool": ("grants", with_grant(pool="de-fra-1-h100")),
    "a grant was for another job": ("grants", with_grant(job_id="job_2")),
    "a grant was for other nodes": ("grants", with_grant(nodes=("node-1",))),
    "a grant was under another policy": ("grants", with_grant(policy_digest=digest("x"))),
    "a grant was of another epoch": ("grants", with_grant(epoch=6)),
    "a grant was for longer than the bound": (
        "grants",
        with_grant(expires_at=HONEST.attempts[1].placed_at + timedelta(minutes=15)),
    ),
    "a policy was replaced under its digest": (
        "policies",
        lambda p: replace(p, policies={p.job.policy_digest: effective_document(an_effective({"residency": ["US"]}))}),
    ),
    "a policy is missing": ("policies", lambda p: replace(p, policies={})),
    "an input had a policy that nobody met": (
        "policies",
        lambda p: replace(p, inputs=(replace(p.inputs[0], policy_digest=digest("x")),)),
    ),
    "facts were replaced under their digest": (
        "facts",
        lambda p: replace(p, facts=dict.fromkeys(p.facts, facts_document(a_pool(territory="DE")))),
    ),
    "facts are missing": ("facts", lambda p: replace(p, facts={})),
    "the facts are those of another pool": ("facts", attempt(pool="fr-bru-1-b200")),
    "an attempt was never judged": ("facts", attempt(judgements=())),
    "the place is printed as another": ("facts", place(territory="SE")),
    "an exposure is left out": ("facts", place(exposure={"auvergne-calcul": ("FR",)})),
    "the evidence is printed as stronger": ("facts", place(evidence="E4")),
    "it was not judged at redemption": (
        "judgements",
        lambda p: with_attempt(p, 2, lambda one: replace(one, judgements=one.judgements[:1])),
    ),
    "the stages are out of order": ("judgements", judged(0, at=HONEST.job.finished_at)),
    "a judgement is said to be good for ever": ("judgements", judged(1, good_until=None)),
    "a judgement is dated after the facts expired": (
        "judgements",
        judged(1, at=HONEST.job.finished_at + timedelta(days=3650)),
    ),
    "the control plane stands elsewhere": (
        "judgements",
        lambda p: replace(p, control_plane={**p.control_plane, "territory": "US"}),
    ),
    "the control plane is exposed": (
        "judgements",
        lambda p: replace(
            p, control_plane={**p.control_plane, "entities": [{"name": "auvergne-calcul", "seat": "US", "owners": []}]}
        ),
    ),
    "the control plane is not described": ("judgements", lambda p: replace(p, control_plane={})),
    "somebody was let in from where nobody may": ("sessions", entered(territory="US")),
    "somebody was let in from nowhere on record": ("sessions", entered(territory=None)),
    "somebody was let in from no territory": ("sessions", entered(territory="fr")),
    "somebody was let in before it ran": ("sessions", entered(-60.0)),
    "somebody was let in after it ran": ("sessions", entered(10**6)),
    "somebody was let into another attempt": ("acts", entered(attempt="att_9")),
    "that somebody was let in is left out": (
        "gaps",
        lambda p: replace(entered()(p), assumptions=p.assumptions),
    ),
    "no bound is stated": ("bounds", attempt(bound_s=0.0)),
    "the bound is longer than the class allows": ("bounds", attempt(bound_s=900.0)),
    "the bound is no number": ("bounds", attempt(bound_s=-1.0)),
    "the attempt outlived what was good": (
        "bounds",
        judged(1, good_until=HONEST.attempts[1].ended_at - timedelta(seconds=46)),
    ),
    "an output's policy is wider": ("outputs", output(policy={"residency": ["EU"]})),
    "an output has no policy": ("outputs", output(policy={})),
    "an output's policy is no policy": ("outputs", output(policy={"process": "everywhere"})),
    "an output is of an attempt that is not there": ("outputs", output(attempt_id="att_9")),
    "two attempts published outputs": (
        "outputs",
        lambda p: replace(p, outputs=(*p.outputs, replace(p.outputs[0], attempt_id="att_1"))),
    ),
    "a gap is left out": ("gaps", lambda p: replace(p, gaps=p.gaps[1:])),
    "an assumption is left out": ("gaps", lambda p: replace(p, assumptions=())),
}


@pytest.mark.parametrize(("check", "lie"), LIES.values(), ids=LIES.keys())
def test_a_lie_fails_its_check(check: str, lie: Lie) -> None:
    failed = failing(verified(lie(HONEST)))
    assert check in failed
    assert failed[check]


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ({"territory": "DE"}, "DE"),
        ({"access_territories": ["FR", "US"]}, "US"),
        ({"endpoints": []}, "not recorded"),
        ({"entities": [{"name": "auvergne-calcul", "seat": "US", "presences": [], "owners": []}]}, "compel"),
        ({"valid_until": "2026-01-01T00:00:00Z"}, "expired"),
    ],
)
def test_an_attempt_in_an_unlawful_place_is_found_by_judging_again(pool: dict[str, object], words: str) -> None:
    """Everything is signed and logged as it should be; only the law says no."""
    failed = failing(verified(Story(pools=(a_pool(**pool),)).certificate()))
    assert set(failed) == {"judgements"}
    assert words in failed["judgements"]


def test_a_job_cannot_say_for_its_owner_where_the_data_may_be() -> None:
    silent = an_effective(owner={"class": "restricted", "egress": "unenforced"})
    policy = replace(silent, layers=tuple(one for one in silent.layers if one.kind != "project"))
    assert "policies" in failing(verified(Story(policy=policy).certificate()))


def test_a_session_of_somebody_who_may_is_told_and_lawful() -> None:
    paper = entered()(HONEST)
    assert failing(verified(paper)) == {}
    assert [one for one in paper.assumptions if "key_1 in FR" in one] != []


def test_an_attempt_that_nobody_took_needs_neither_grant_nor_second_judgement() -> None:
    def never_taken(one: AttemptRecord) -> AttemptRecord:
        return replace(
            one, redeemed_at=None, started_at=None, grant=None, judgements=one.judgements[:1], result=AttemptResult.LOST
        )

    paper = logged(with_attempt(HONEST, 1, never_taken))
    assert failing(verified(paper)) == {}


def test_a_renewal_that_was_judged_anew_is_part_of_the_story() -> None:
    def renewed(one: AttemptRecord) -> AttemptRecord:
        again = replace(one.judgements[1], stage="renew", at=one.ended_at - timedelta(seconds=5), epoch=8)
        return replace(one, judgements=(*one.judgements, again))

    assert failing(verified(with_attempt(HONEST, 2, renewed))) == {}


def test_a_tighter_output_is_as_good() -> None:
    paper = output(policy={**Story().born(), "class": "restricted"})(HONEST)
    assert failing(verified(paper)) == {}


def test_sensitive_data_that_went_beyond_its_time_is_found_even_when_nobody_hid_it() -> None:
    facts = a_pool(valid_until=(HONEST.attempts[0].placed_at + timedelta(seconds=2)).isoformat())
    paper = Story(pools=(facts,)).certificate()
    assert failing(verified(paper)) == {}, "39 s past its end are within the bound of 45 s"
    late = replace(paper.attempts[0], ended_at=paper.attempts[0].ended_at + timedelta(seconds=10))
    paper = replace(paper, attempts=(late,), job=replace(paper.job, finished_at=late.ended_at))
    assert set(failing(verified(logged(paper)))) == {"bounds"}
