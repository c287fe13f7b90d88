"""What is to be fenced, closed and opened follows from what is there and what the judge says now."""

from __future__ import annotations

from datetime import timedelta

from nordan_core.domain.fences import RestGroup
from nordan_core.domain.ids import AttemptId, PoolName, ProjectId, RegionCode
from nordan_core.facts import FactsBook
from nordan_core.residency.facts import ControlPlaneFacts, PoolFacts
from nordan_scheduler.revisit import (
    Memory,
    Run,
    Word,
    first_end,
    to_close_and_open,
    to_fence,
    word_on_rest,
    word_on_run,
)
from support.residency import ATLAS, ENTITIES, FAR, NOW, a_german_pool, a_pool, a_swedish_pool, as_owner

PROJECT = ProjectId("prj_one")
SOON = NOW + timedelta(minutes=5)
POLICIES = {
    "nordic": (as_owner(process=["FR", "SE"], store=["FR", "SE"]),),
    "free": (as_owner(forbid_exposure=["US"]),),
    "any": (as_owner(),),
}


def a_book(*pools: PoolFacts, epoch: int = 7) -> FactsBook:
    home = ControlPlaneFacts(territory="FR", operator="auvergne-calcul", entities=ENTITIES)
    return FactsBook(epoch, ATLAS, pools or (a_pool(), a_german_pool(), a_swedish_pool()), home, {}, {}, "cp")


def a_run(policy: str, pool: str = "fr-bru-1-h100") -> Run:
    return Run(policy, PROJECT, PoolName(pool))


def a_group(policy: str, region: str, *, is_fenced: bool = False) -> RestGroup:
    return RestGroup(policy, PROJECT, RegionCode(region), is_fenced)


def said(run: Run, book: FactsBook) -> Word:
    return word_on_run(run, POLICIES[run.policy_key], book, NOW)


def test_only_attempts_of_a_policy_that_forbids_their_pool_are_fenced() -> None:
    book = a_book()
    live = {
        AttemptId("a"): a_run("nordic"),
        AttemptId("b"): a_run("nordic", "de-fra-1-h100"),
        AttemptId("c"): a_run("any", "de-fra-1-h100"),
        AttemptId("d"): a_run("nordic", "de-fra-1-h100"),
        AttemptId("e"): a_run("any", "gone"),
    }
    findings = to_fence(live, {run: said(run, book) for run in set(live.values())})
    assert list(findings) == ["b", "d", "e"]
    assert {one["facet"] for one in findings[AttemptId("b")].refusals} == {"process", "store"}
    assert findings[AttemptId("b")].facts == (a_german_pool().digest,)
    assert findings[AttemptId("b")].epoch == 7
    assert findings[AttemptId("e")].facts == ()


def test_a_finding_is_kept_whole_and_logged_without_sentences() -> None:
    finding = said(a_run("nordic", "de-fra-1-h100"), a_book()).finding()
    [process, *_] = finding.document()["refusals"]
    assert (process["facet"], process["want"], process["have"]) == ("process", "[FR, SE]", "DE")
    assert finding.message.startswith("process: ")
    assert finding.body()["facets"] == ["process", "store"]
    assert "message" not in str(finding.body())


def test_places_are_closed_and_opened_by_what_the_facts_of_their_region_say() -> None:
    groups = [
        a_group("free", "de-fra-1"),
        a_group("free", "fr-bru-1"),
        a_group("free", "fr-bru-1", is_fenced=True),
        a_group("free", "de-fra-1", is_fenced=True),
        a_group("any", "xx-yyy-1"),
    ]
    words = {one: word_on_rest(one, POLICIES[one.policy_key], a_book(), NOW) for one in groups}
    closing, opening = to_close_and_open(words)
    assert list(closing) == [groups[0], groups[4]]
    assert list(opening) == [groups[2]]
    assert opening[groups[2]].refusals == ()


def test_the_first_end_is_when_to_look_again() -> None:
    book = a_book(a_pool(valid_until=SOON), a_swedish_pool())
    words = [said(a_run("nordic", pool), book) for pool in ("se-bor-1-h200", "fr-bru-1-h100")]
    assert first_end(words) == SOON
    assert first_end(words[:1]) == FAR
    assert first_end([]) is None


class TestMemory:
    """Equal questions are judged once, as long as the answer holds."""

    def test_a_question_is_judged_once_until_its_answer_ends(self) -> None:
        """Then it is judged at that instant, though nothing else has moved."""
        book = a_book(a_pool(valid_until=SOON))
        asked: list[Run] = []

        def say(run: Run) -> Word:
            asked.append(run)
            return word_on_run(run, POLICIES[run.policy_key], book, now)

        memory: Memory[Run] = Memory()
        run = a_run("nordic")
        now = NOW
        assert memory.ask([run, run], book, now, say)[run].verdict.allowed
        now = SOON - timedelta(microseconds=1)
        assert memory.ask([run], book, now, say)[run].verdict.allowed
        assert len(asked) == 1
        now = SOON
        assert memory.ask([run], book, now, say)[run].verdict.failing == {"facts"}
        assert len(asked) == 2

    def test_a_step_of_the_epoch_judges_everything_again(self) -> None:
        """Whatever the step was about."""
        memory: Memory[Run] = Memory()
        run = a_run("nordic")
        first = memory.ask([run], a_book(), NOW, lambda one: said(one, a_book()))[run]
        book = a_book(epoch=8)
        assert memory.ask([run], book, NOW, lambda one: said(one, book))[run].epoch == 8
        assert first.epoch == 7

    def test_what_is_not_there_any_more_is_forgotten(self) -> None:
        """So that its size is that of what is there."""
        memory: Memory[Run] = Memory()
        book, asked = a_book(), []

        def say(run: Run) -> Word:
            asked.append(run)
            return said(run, book)

        memory.ask([a_run("nordic"), a_run("any")], book, NOW, say)
        memory.ask([a_run("any")], book, NOW, say)
        memory.ask([a_run("nordic"), a_run("any")], book, NOW, say)
        assert [one.policy_key for one in asked] == ["nordic", "any", "nordic"]
