"""The protocol of jobs and law on the real store: a state machine of everything that may happen, in any order.

The real api, scheduler, fencer, reaper and relay do what is done; regions keep deadlines as shims do. What is lawful is
said by the second judge, from the documents alone. The model in `protocol_model` is the same protocol without a store.

What it has been seen to find, with the check taken out of the product: renewals and ends that nobody judges, a reaper
that comes early. It did not come to a grant that lives on as long as before its class was raised.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nordan_core.atlas.loader import default_atlas_bytes
from nordan_core.facts import FactsBook
from nordan_core.residency.facts import control_plane_document, facts_document
from nordan_core.store.leadership import NotLeader
from support import second_judge
from support.atlases import Change, changed, offer, parsed, without
from support.control import Json
from support.lab import JOBS, PATIENTS, REGIONS, Lab
from support.region_side import manifest
from support.second_judge import Facts, SecondJudge
from support.shims import Answer, Region, lives_of, running
from support.soundness import assert_sound
from support.stepped_scheduler import SteppedScheduler

pick = st.integers(0, 1 << 16)
#: What another atlas says otherwise than the packaged one.
ATLASES: dict[str, Change] = {
    "as packaged": lambda _: None,
    "without Sweden": without("EEA", "SE"),
    "without Norway": without("EEA", "NO"),
}
#: Seconds that a grant lives without renewal.
LIFE_S, SHORT_LIFE_S = 900, 45
#: By which clocks may differ: so long after a grant's end the control plane waits before it counts a process as gone.
BOUND_S = 5
#: What may follow a step of the law before anything else does.
THEN = st.sampled_from(["anything", "regions hear of it", "one ends and regions hear of it"])
SHORT = second_judge.CONFIDENTIAL
FLOORS: dict[str, Json] = {
    "wide": {"class": "internal", "residency": ["EEA"]},
    "french": {"class": "internal", "residency": ["FR"]},
    "nordic": {"class": "internal", "residency": ["SE", "NO"]},
    "nordic from France": {
        "class": "internal",
        "process": ["SE", "NO"],
        "store": ["SE", "NO"],
        "describe": ["EEA"],
        "access": ["EEA"],
        "key": ["EEA"],
    },
    "confidential": {"class": "confidential", "residency": ["EEA"]},
}
#: What a job asks for beyond its floor.
SHAPES: dict[str, Json] = {
    "plain": {},
    "free": {"policy": {"forbid_exposure": ["US"]}},
    "certified": {"policy": {"certifications": {"hds": "v2"}}},
    "ending": {"policy": {"valid_until": "2026-11-21T09:30:00Z"}},
    "patients": {"inputs": ["dataset/patients"]},
}
SOLD: Json = {
    "kind": "Entity",
    "name": "auvergne-calcul",
    "seat": "FR",
    "presences": ["SE"],
    "owners": [{"owner": "pinecrest-ventures", "capital_percent": 100, "votes_percent": 100, "control": "veto"}],
}
KEPT: Json = {**SOLD, "owners": []}


class Protocol(RuleBasedStateMachine):
    """Jobs of every shape, law that moves, regions near and cut off, and a scheduler that dies."""

    lab: Lab
    tally: ClassVar[Counter[str]]
    """What happened how often, over all examples."""

    @initialize()
    def begin(self) -> None:
        self.lab = self.lab.fresh()
        self.jobs: dict[str, tuple[str, Json]] = {}
        """By id: the shape, and the floor under which it was accepted."""
        self.floor = FLOORS["wide"]
        self.atlases = 0
        self.judge = _second_judge(default_atlas_bytes())
        self.regions = {code: Region(self.lab, code) for code in REGIONS}
        self.cut: set[str] = set()
        self.entries: set[str] = set()
        self.facts: dict[str, Facts] = {}
        self.granted: dict[str, str] = {}
        self.promised_s: dict[str, float] = {}
        """By attempt: until when, on the monotonic clock, a region may let it run on any answer that was ever given."""
        self.lab.apply({"kind": "ControlPlane", "territory": "FR", "operator": "caisse-du-rhone"})
        for pool in ("fr-bru-1-h100", "se-bor-1-h200"):
            self._offer(pool, enforces=["egress", "isolation"])
        self.lab.put("patients", "fr-bru-1", manifest(a__csv="1"), PATIENTS)
        self.scheduler = SteppedScheduler.start(self.lab)
        self.deposed: SteppedScheduler | None = None
        self._new_entries()
        for shape in SHAPES:
            self.a_job_is_brought_to_run(shape, limit=1)

    # What owners do.

    @rule(shape=st.sampled_from(sorted(SHAPES)), limit=st.integers(0, 2))
    def a_job_is_brought_to_run(self, shape: str, limit: int) -> None:
        """All steps of a start in their order, so that much else happens to what runs."""
        self.submit(shape, limit)
        self.plan()
        self.apply(len(self.scheduler.plans) - 1, forget=True)
        for code in REGIONS:
            self.relay(code)
        if self.scheduler.nudges:
            self.a_nudge_is_delivered(len(self.scheduler.nudges) - 1, arrives=True)

    @rule(shape=st.sampled_from(sorted(SHAPES)), limit=st.integers(0, 2))
    def submit(self, shape: str, limit: int) -> None:
        retry = {"limit": limit, "on": ["node_lost", "grant_expired", "container_exit", "preempted"]}
        body = {"name": "any", "command": ["true"], "outputs": ["model"], "retry": retry, **SHAPES[shape]}
        answer = self.lab.admin("POST", JOBS, body)
        self.tally[f"submitted: {answer.status_code}"] += 1
        if answer.status_code == 202:
            self.jobs[answer.json()["id"]] = (shape, self.floor)
        else:
            assert answer.status_code == 422, answer.text

    @precondition(lambda self: self.jobs)
    @rule(which=pick)
    def cancel(self, which: int) -> None:
        answer = self.lab.admin("POST", f"{JOBS}/{self._job(which)}:cancel", {"grace_s": 0})
        assert answer.status_code in {200, 409}, answer.text

    @precondition(lambda self: self.jobs)
    @rule(which=pick)
    def go_on(self, which: int) -> None:
        answer = self.lab.admin("POST", f"{JOBS}/{self._job(which)}:retry", {})
        assert answer.status_code in {200, 409, 422}, answer.text
        self.tally[f"resumed: {answer.status_code}"] += 1

    # What the scheduler does.

    @rule()
    def plan(self) -> None:
        self.lab.hear()
        self.scheduler.plan()

    @precondition(lambda self: self.scheduler.plans)
    @rule(which=pick, forget=st.booleans())
    def apply(self, which: int, forget: bool) -> None:
        which %= len(self.scheduler.plans)
        asked = len(self.scheduler.plans[which][1])
        placed = self.scheduler.apply(which, forget=forget)
        self.tally.update({"placed": placed, "dropped": asked - placed})

    @precondition(lambda self: bool(self._plans_of_the_deposed()))
    @rule(which=pick)
    def a_deposed_leader_applies(self, which: int) -> None:
        assert self.deposed is not None
        places = self._plans_of_the_deposed()
        with pytest.raises(NotLeader):
            self.deposed.apply(places[which % len(places)], forget=True)

    @rule()
    def crash(self) -> None:
        nudges = self.scheduler.nudges
        self.deposed, self.scheduler = self.scheduler, SteppedScheduler.start(self.lab)
        self.scheduler.nudges = nudges

    @rule()
    def look_again(self) -> None:
        self.scheduler.fencer.step(self.scheduler.epoch)
        self._nothing_unlawful_is_left_alone()

    @rule()
    def reap(self) -> None:
        live = self._live_and_taken()
        self.scheduler.reaper.step(self.scheduler.epoch)
        over_s = self.lab.clock.monotonic() - BOUND_S
        left = self._live_and_taken()
        assert all(self.promised_s[one] <= over_s for one in live - left), "it was given up while it may run"
        assert all(self.promised_s[one] >= over_s - 1 for one in left), "the reaper left what is over"
        self.tally["reaped"] += len(live - left)

    @precondition(lambda self: bool(self._ends_to_come()))
    @rule(which=pick)
    def the_reaper_comes_at_an_end(self, which: int) -> None:
        """Once before the bound is over, and once after."""
        ends_s = self._ends_to_come()
        for later_s in (1, BOUND_S + 1):
            self.wait(ends_s[which % len(ends_s)] + later_s - self.lab.clock.monotonic())
            self.reap()

    @rule(code=st.sampled_from(REGIONS))
    def relay(self, code: str) -> None:
        self.scheduler.relay(code)

    # What regions do.

    @precondition(lambda self: self.scheduler.nudges)
    @rule(which=pick, arrives=st.booleans())
    def a_nudge_is_delivered(self, which: int, arrives: bool) -> None:
        """Any that was ever sent: brokers deliver twice."""
        code, grant = self.scheduler.nudges[which % len(self.scheduler.nudges)]
        self._redeem(code, grant, arrives=arrives)

    @rule(which=pick, arrives=st.booleans())
    def a_sweep_finds_a_grant(self, which: int, arrives: bool) -> None:
        """A region may ask for a grant that no message told it of."""
        grants = self.lab.rows("select region, id from attempt_grant order by id")
        if grants:
            self._redeem(*grants[which % len(grants)], arrives=arrives)

    @rule(code=st.sampled_from(REGIONS), arrives=st.booleans())
    def sync(self, code: str, arrives: bool) -> None:
        if code in self.cut:
            return
        region = self.regions[code]
        untold = [one for one, report in region.untold.items() if report["result"] == "succeeded"]
        is_live = {one for one in untold if self._is_live(one)}
        answer = region.sync()
        self._what_was_renewed_is_lawful(answer)
        self._what_is_unlawful_was_told_to_stop(region, answer)
        self._what_ended_unlawfully_made_nothing(is_live)
        if arrives:
            region.arrive(answer)
            self._nothing_lives_longer_than_its_class_allows(region)

    @precondition(lambda self: any(region.late for region in self.regions.values()))
    @rule(which=pick)
    def a_late_answer_arrives(self, which: int) -> None:
        late = [(region, answer) for region in self.regions.values() for answer in region.late]
        region, answer = late[which % len(late)]
        region.arrive(answer)

    @precondition(lambda self: bool(running(self.regions.values())))
    @rule(which=pick, how=st.sampled_from([("succeeded", None), ("failed", "container_exit"), ("lost", "node_lost")]))
    def ends(self, which: int, how: tuple[str, str | None]) -> None:
        shims = running(self.regions.values())
        shim = shims[which % len(shims)]
        self.regions[shim.run.region].end(shim.run.attempt, *how)

    @rule(code=st.sampled_from(REGIONS))
    def cut_off(self, code: str) -> None:
        self.cut ^= {code}

    @precondition(lambda self: bool(running(self.regions.values())))
    @rule(which=pick)
    def another_supervisor_asks(self, which: int) -> None:
        """For a grant that was redeemed already."""
        shims = running(self.regions.values())
        run = shims[which % len(shims)].run
        self.regions[run.region].redemptions.pop(run.grant, None)
        self._redeem(run.region, run.grant, arrives=True)

    @rule(code=st.sampled_from(REGIONS))
    def a_supervisor_loses_its_disk(self, code: str) -> None:
        self.regions[code].lose_disk()

    # What time and law do.

    @rule(seconds=st.sampled_from([1.0, 20.0, 46.0, 51.0, 310.0, 906.0]))
    def wait(self, seconds: float) -> None:
        end = self.lab.clock.now() + timedelta(seconds=seconds)
        # By way of every instant at which something lawful may end, so that the second judge sees it then.
        for instant in sorted({*self._ends(), end}):
            if self.lab.clock.now() < instant <= end:
                self.lab.clock.advance((instant - self.lab.clock.now()).total_seconds())
                for region in self.regions.values():
                    region.look_at_clock()
                self._budgets_are_kept()

    @rule(name=st.sampled_from(sorted(FLOORS)), then=THEN)
    def the_floor_changes(self, name: str, then: str) -> None:
        self.floor = FLOORS[name]
        self.lab.apply({"kind": "Project", "name": "default", "organisation": "home", "floor": self.floor})
        self._then(then)

    @rule(name=st.sampled_from(sorted(ATLASES)), then=THEN)
    def the_atlas_changes(self, name: str, then: str) -> None:
        # Each has to be newer than the one in force.
        self.atlases += 1
        data = changed(ATLASES[name], f"tests-{2027 + self.atlases}-01")
        body = {**offer(data), "digest": parsed(data).digest}
        self.lab.admin("POST", "/v1/atlas:apply", body, expect=200)
        self.judge = _second_judge(data)
        self._then(then)

    @rule(owned=st.sampled_from([SOLD, KEPT]), then=THEN)
    def the_operator_is_sold(self, owned: Json, then: str) -> None:
        self.lab.apply(owned)
        self._then(then)

    @rule(is_at_home=st.booleans(), then=THEN)
    def a_data_centre_moves(self, is_at_home: bool, then: str) -> None:
        region = self.lab.one("select document from region where code = 'se-bor-1'")
        territory, locode = ("SE", "SEBLE") if is_at_home else ("US", "")
        self.lab.apply({**region, "territory": territory, "locode": locode})
        self._then(then)

    @rule(seconds=st.sampled_from([0.0, 30.0, 200.0]))
    def a_certification_is_renewed_until(self, seconds: float) -> None:
        until = self.lab.clock.now() + timedelta(seconds=seconds)
        held = {"scheme": "hds", "level": "v2", "scope": ["compute", "storage"], "valid_until": until.isoformat()}
        self._offer("fr-bru-1-h100", certifications=[held])

    def _then(self, what: str) -> None:
        """Let regions speak before the leader looks again: they must hear the new law from whomever they ask."""
        if what == "anything":
            return
        if what == "one ends and regions hear of it":
            unlawful = (shim for shim in running(self.regions.values()) if self._failing(shim.job, shim.pool))
            for shim in islice(unlawful, 1):
                self.regions[shim.run.region].end(shim.run.attempt, "succeeded")
        for code in sorted({shim.run.region for shim in running(self.regions.values())} | self._with_news()):
            self.sync(code, arrives=True)

    # What must hold.

    @invariant()
    def all_is_sound(self) -> None:
        if hasattr(self, "entries"):
            assert_sound(self.lab)
            self._every_act_carries_the_newest_law()
            self._one_process_per_job()
            self._budgets_are_kept()

    def _every_act_carries_the_newest_law(self) -> None:
        law = self.lab.one("select epoch from residency_epoch")
        for _, act, body in self._new_entries():
            self.tally[act] += 1
            if act in {"grant_issued", "grant_redeemed", "grant_revoked", "grant_denied"}:
                told = {one for one in (body.get("epoch"), body.get("verdict", {}).get("epoch")) if one is not None}
                assert told == {law}, (act, body, law)

    def _one_process_per_job(self) -> None:
        jobs = [shim.job for shim in running(self.regions.values())]
        assert len(jobs) == len(set(jobs)), "an attempt started before the one before it had stopped"

    def _budgets_are_kept(self) -> None:
        now = self.lab.clock.now()
        for shim in running(self.regions.values()):
            if not self._failing(shim.job, shim.pool):
                shim.unlawful_since = None
                continue
            self.tally["unlawful"] += shim.unlawful_since is None
            shim.unlawful_since = shim.unlawful_since or now
            assert (now - shim.unlawful_since).total_seconds() < LIFE_S, "it ran unlawfully beyond its budget"

    def _nothing_unlawful_is_left_alone(self) -> None:
        live = "select job_id, pool from attempt where state <> 'ended' and stop_reason is distinct from 'fenced'"
        for job, pool in self.lab.rows(live):
            assert self._failing(job, pool) == set(), "the leader looked and left it"
        readable = "select a.job_id, l.region from artifact a join location l on l.artifact_id = a.id"
        for job, code in self.lab.rows(f"{readable} where l.fenced_at is null and a.kind = 'output'"):
            pools = [name for (name,) in self.lab.rows("select name from pool where region = :code", code=code)]
            assert not all(self._failing_to_store(job, pool) for pool in pools), "its outputs can be read"

    def _what_was_renewed_is_lawful(self, answer: Answer) -> None:
        for attempt, life_s in lives_of(self.lab, answer).items():
            [(job, pool)] = self.lab.rows("select job_id, pool from attempt where id = :id", id=attempt)
            assert self._failing(job, pool) == set(), "it was let go on"
            assert life_s <= self._life_s(job), "its grant lives longer than its class allows"
            self.promised_s[attempt] = max(self.promised_s.get(attempt, 0.0), answer.sent_at_s + life_s)
            self.tally[f"life: {'long' if life_s > SHORT_LIFE_S else 'short'}"] += 1

    def _what_is_unlawful_was_told_to_stop(self, region: Region, answer: Answer) -> None:
        told = {*(one["attempt_id"] for one in answer.body["stop"]), *answer.body["settled"], *answer.body["unknown"]}
        for attempt, shim in region.shims.items():
            if self._failing(shim.job, shim.pool):
                self.tally["told to stop"] += 1
                assert attempt in told, "its region asked, and was not told to stop it"

    def _what_ended_unlawfully_made_nothing(self, attempts: set[str]) -> None:
        """Look at what has ended with the last sync."""
        for attempt in attempts:
            [(job, pool, result)] = self.lab.rows("select job_id, pool, result from attempt where id = :a", a=attempt)
            if self._failing(job, pool):
                self.tally["ended unlawfully"] += 1
                assert result == "fenced", "its end was taken for lawful"

    def _nothing_lives_longer_than_its_class_allows(self, region: Region) -> None:
        for shim in region.shims.values():
            left_s = shim.dies_at_s - self.lab.clock.monotonic()
            assert left_s <= self._life_s(shim.job), "its grant lives on as long as before its class was raised"

    def _redeem(self, code: str, grant: str, *, arrives: bool) -> None:
        if code in self.cut:
            return
        answer = self.regions[code].ask_for(grant)
        [item] = answer.body["items"]
        self.tally[f"redemption: {item['code'] or item['outcome']}"] += 1
        [(job, pool)] = self.lab.rows(
            "select a.job_id, a.pool from attempt a join attempt_grant g on g.attempt_id = a.id where g.id = :id",
            id=grant,
        )
        if item["outcome"] == "granted":
            assert self.granted.setdefault(grant, answer.redemption) == answer.redemption, "a second redemption"
            self._what_was_renewed_is_lawful(answer)
        elif item["code"] == "rejected_by_policy":
            assert self._failing(job, pool), "it was refused for nothing"
        if arrives:
            self.regions[code].arrive(answer)

    # What the second judge says, and what it is asked.

    def _failing(self, job: str, pool: str) -> set[str]:
        book, now = self._book(), self.lab.clock.now()
        facts, plane = self._facts(pool), self._plane(book)
        fails: set[str] = set()
        for of in self._policies(job):
            fails |= self.judge.runs(of, facts, now) | self.judge.describes(of, plane, now)
        return fails

    def _failing_to_store(self, job: str, pool: str) -> set[str]:
        facts, now = self._facts(pool), self.lab.clock.now()
        return set().union(*(self.judge.stores(of, facts, now) for of in self._policies(job)))

    def _life_s(self, job: str) -> int:
        is_short = any(of[0]["class"] >= SHORT for of in self._policies(job))
        return SHORT_LIFE_S if is_short else LIFE_S

    def _policies(self, job: str) -> Iterator[second_judge.Effective]:
        shape, accepted = self.jobs[job]
        content = [("input", PATIENTS)] if shape == "patients" else []
        own = [("job", SHAPES[shape].get("policy", {}))]
        for floor in (accepted, self.floor):
            yield second_judge.effective([("project", floor), *content, *own], has_content=bool(content))

    def _book(self) -> FactsBook:
        epoch = self.lab.one("select epoch from residency_epoch")
        return self.lab.context.facts_cache.at(epoch, self.lab.context.store)

    def _facts(self, pool: str) -> Facts:
        found = self._book().pool(pool)
        assert found is not None
        return self._kept(found.digest, lambda: facts_document(found))

    def _plane(self, book: FactsBook) -> Facts:
        return self._kept(book.control_plane_digest, lambda: control_plane_document(book.control_plane))

    def _kept(self, digest: str, document: Callable[[], Json]) -> Facts:
        """Return facts as the second judge reads them, once for each: it works out slowly who holds whom."""
        if digest not in self.facts:
            self.facts[digest] = Facts(document())
        return self.facts[digest]

    def _ends(self) -> set[datetime]:
        pools = self.lab.rows("select document from pool")
        ends = {one["valid_until"] for (pool,) in pools for one in pool["certifications"]}
        ends |= {SHAPES["ending"]["policy"]["valid_until"]}
        return {second_judge.instant(end) for end in ends}

    def _new_entries(self) -> list[tuple[Any, ...]]:
        rows = self.lab.rows("select id, act, body from audit_entry")
        new = [row for row in rows if row[0] not in self.entries]
        self.entries |= {row[0] for row in new}
        return new

    def _offer(self, pool: str, **changes: Any) -> None:
        document = self.lab.one("select document from pool where name = :pool", pool=pool)
        self.lab.apply({**document, **changes})

    def _is_live(self, attempt: str) -> bool:
        return bool(self.lab.one("select state <> 'ended' from attempt where id = :id", id=attempt))

    def _live_and_taken(self) -> set[str]:
        rows = self.lab.rows("select id from attempt where state not in ('placed', 'ended')")
        return {attempt for (attempt,) in rows}

    def _ends_to_come(self) -> list[float]:
        now_s = self.lab.clock.monotonic()
        return sorted({end_s for one in self._live_and_taken() if (end_s := self.promised_s[one]) > now_s})

    def _with_news(self) -> set[str]:
        return {code for code, region in self.regions.items() if region.untold}

    def _plans_of_the_deposed(self) -> list[int]:
        plans = [] if self.deposed is None else self.deposed.plans
        return [place for place, (_, decisions) in enumerate(plans) if decisions]

    def _job(self, which: int) -> str:
        return list(self.jobs)[which % len(self.jobs)]


def _second_judge(atlas: bytes) -> SecondJudge:
    return SecondJudge(second_judge.Atlas(json.loads(atlas)))
