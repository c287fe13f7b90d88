"""What a derogation may say, whom it covers, and what it changes: its facet, for its subjects, in its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nordan_core.residency.derogations import (
    LONGEST,
    LONGEST_BREAK_GLASS,
    Covering,
    coverings,
    derogation_document,
    fewest,
    parse_derogation,
)
from nordan_core.residency.effective_text import effective_document, parse_effective, repeats
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facets import EMPTY, FACETS, PLACE_FACETS, attribute_of
from nordan_core.residency.facts import Certification, ControlPlaneFacts, PoolFacts, Service
from nordan_core.residency.joins import ALTERNATIVES, DEROGABLE, joined
from nordan_core.residency.judge import judge, judge_control_plane, judge_reader, judge_storage, permits
from nordan_core.residency.layers import Effective, Layer
from nordan_core.residency.masks import compile_mask
from nordan_core.residency.widening import MOST_TOGETHER, derogated
from nordan_core.residency.widening import in_force as in_force_at
from support.derogations import DATASET, PROJECT, a_derogation, a_text, bearings
from support.residency import (
    ATLAS,
    ENTITIES,
    NOW,
    a_layer,
    a_policy,
    a_pool,
    a_swedish_pool,
    endpoints,
    in_force,
)
from support.residency_strategies import FACET_VALUES, WORSE, instants, owner_and_floor_layers

FIVE = {facet: ["FR"] for facet in PLACE_FACETS}
END = NOW + timedelta(days=7)
NONE = object()

steady = settings(
    max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def of_project(**facets: Any) -> Effective:
    """Return the policy of a job under a floor that allows France alone, for everything."""
    return in_force(a_layer("project", "default", **{**FIVE, "class_": "internal", **facets}))


def used(of: Effective, *, inputs: Any = None, **changes: Any) -> Effective:
    """Return a policy under one derogation."""
    return derogated(of, [Covering(a_derogation(**changes), inputs)])


def german(**changes: Any) -> PoolFacts:
    """Return a pool that differs from the French one by where it computes, and by nothing else."""
    return a_pool(territory="DE", **changes)


class TestTheText:
    """What can be asked for at all."""

    def test_it_reads_back_as_it_was_written(self) -> None:
        """The document is the text that the digest is taken over."""
        one = a_derogation(subjects=["dataset/dts_b", "job/job_a"], to=["NO", "DE"])
        assert parse_derogation(derogation_document(one), ATLAS) == one

    @pytest.mark.parametrize("field", sorted(set(a_text()) - {"break_glass"}))
    def test_each_part_of_the_text_is_needed_and_digested(self, field: str) -> None:
        """Without it there is no text, and with another word it is another text."""
        with pytest.raises(PolicyError) as caught:
            parse_derogation({name: value for name, value in a_text().items() if name != field}, ATLAS)
        assert caught.value.field.startswith(field) or field == "to"
        other = {
            "facet": "store",
            "to": ["NO"],
            "subjects": ["job/job_x"],
            "max_uses": 4,
            "not_before": (NOW + timedelta(seconds=1)).isoformat(),
            "not_after": (NOW + timedelta(hours=1)).isoformat(),
        }.get(field, "something else")
        assert a_derogation(**{field: other}).digest != a_derogation().digest

    def test_breaking_glass_is_part_of_the_text(self) -> None:
        """So that nobody approves one and gets the other."""
        short = {"not_after": (NOW + LONGEST_BREAK_GLASS).isoformat()}
        assert a_derogation(break_glass=True, **short).digest != a_derogation(**short).digest

    @pytest.mark.parametrize(
        ("changes", "field", "word"),
        [
            ({"facet": "class", "to": "public"}, "facet", "cannot be widened"),
            ({"facet": "valid_until", "to": "2030-01-01"}, "facet", "cannot be widened"),
            ({"facet": "non_derogable", "to": []}, "facet", "cannot be widened"),
            ({"facet": "proces"}, "facet", "did you mean 'process'"),
            ({"to": ["Germany"]}, "to.0", "did you mean 'DE'"),
            ({"facet": "egress", "to": "unenforced"}, "to", "only the owner"),
            ({"facet": "egress", "to": ["hub"], "subjects": [f"dataset/{DATASET}"]}, "subjects", "whole job"),
            ({"subjects": []}, "subjects", "from 1"),
            ({"subjects": ["dataset/*"]}, "subjects.0", "one thing"),
            ({"subjects": ["everything"]}, "subjects.0", "one thing"),
            ({"subjects": ["pool/x"]}, "subjects.0", "not one of"),
            ({"max_uses": 0}, "max_uses", "within"),
            ({"not_after": NOW.isoformat()}, "not_after", "before it begins"),
            ({"not_after": (NOW + LONGEST + timedelta(seconds=1)).isoformat()}, "not_after", "30 days"),
            (
                {"break_glass": True, "not_after": (NOW + LONGEST_BREAK_GLASS + timedelta(seconds=1)).isoformat()},
                "not_after",
                "4 hours",
            ),
            ({"reason": "x" * 4001}, "reason", "at most"),
            ({"surprise": 1}, "surprise", "no such field"),
        ],
    )
    def test_what_cannot_be_asked_for(self, changes: dict[str, Any], field: str, word: str) -> None:
        """Each is refused with the field at fault and what would be right."""
        with pytest.raises(PolicyError) as caught:
            a_derogation(**changes)
        assert caught.value.field == field
        assert word in caught.value.message

    def test_the_longest_times_are_allowed(self) -> None:
        """Thirty days; four hours behind glass."""
        assert a_derogation(not_after=(NOW + LONGEST).isoformat()).not_after == NOW + LONGEST
        a_derogation(break_glass=True, not_after=(NOW + LONGEST_BREAK_GLASS).isoformat())


class TestWhomItCovers:
    """Subjects are ids; what they do not name is not covered."""

    @pytest.mark.parametrize(
        ("subject", "expected"),
        [
            (f"project/{PROJECT}", None),
            ("job/job_one", None),
            (f"dataset/{DATASET}", frozenset({"patients"})),
            ("job/job_two", NONE),
            ("dataset/dts_other", NONE),
            ("project/prj_two", NONE),
        ],
    )
    def test_a_subject_covers_its_own(self, subject: str, expected: Any) -> None:
        """A project or a job everything that is met; a dataset what it states; another one nothing."""
        found = coverings([a_derogation(subjects=[subject])], bearings(patients=DATASET, other="dts_second"))
        assert [one.inputs for one in found] == ([] if expected is NONE else [expected])

    def test_another_projects_derogation_covers_nothing(self) -> None:
        """Even where it names the same job."""
        assert coverings([a_derogation(project="prj_two", subjects=["job/job_one"])], bearings()) == ()

    def test_a_job_that_has_no_id_yet_is_no_subject(self) -> None:
        """While it is being submitted only its project and its datasets count."""
        assert coverings([a_derogation(subjects=["job/job_one"])], bearings(None)) == ()


class TestTheJudgement:
    """One judge; the derogation is a step after the meet."""

    def test_it_lets_through_what_only_its_facet_kept_out(self) -> None:
        """And the verdict says so among its gaps."""
        plain = judge(of_project(), german(), ATLAS, NOW)
        assert plain.failing == {"process", "describe"}
        widened = of_project(describe=["FR", "DE"])
        assert judge(widened, german(), ATLAS, NOW).failing == {"process"}
        verdict = judge(used(widened), german(), ATLAS, NOW)
        assert verdict.allowed
        assert any("process: ['DE'] was enough" in gap and "drg_one" in gap for gap in verdict.gaps)

    def test_it_touches_no_other_facet(self) -> None:
        """What else fails still fails."""
        assert judge(used(of_project()), german(), ATLAS, NOW).failing == {"describe"}

    @pytest.mark.parametrize(
        ("at", "allowed", "until"),
        [
            (NOW - timedelta(seconds=1), False, NOW),
            (NOW, True, END),
            (END - timedelta(microseconds=1), True, END),
            (END, False, None),
        ],
    )
    def test_it_begins_and_ends_by_itself(self, at: datetime, allowed: bool, until: datetime | None) -> None:
        """Each verdict tells until when it is good, so running work is judged again at the very instant."""
        verdict = judge(used(of_project(describe=["FR", "DE"])), german(), ATLAS, at)
        assert verdict.allowed is allowed
        assert verdict.good_until == (a_pool().valid_until if until is None else until)

    def test_a_facet_that_nobody_may_touch_stays_as_it_is(self) -> None:
        """Whoever of the layers said so."""
        closed = in_force(
            a_layer("project", "default", **{**FIVE, "describe": ["FR", "DE"], "class_": "internal"}),
            a_layer("input", "patients", non_derogable=["process"]),
        )
        assert judge(used(closed), german(), ATLAS, NOW).failing == {"process"}
        other = replace(closed, policy=replace(closed.policy, non_derogable=frozenset({"store"})))
        assert judge(used(other), german(), ATLAS, NOW).allowed

    def test_what_nobody_stated_is_still_missing(self) -> None:
        """A derogation stands in for no owner's word."""
        unsaid = in_force(a_layer("job", "x", process=["FR"]), has_content=True)
        refusals = judge(used(unsaid), a_pool(), ATLAS, NOW)
        assert "process" in refusals.failing

    def test_one_for_a_dataset_widens_nothing_that_others_state(self) -> None:
        """The second dataset of the job never agreed."""
        both = in_force(
            a_layer("input", "patients", **{**FIVE, "describe": ["FR", "DE"]}),
            a_layer("input", "staff", **{**FIVE, "describe": ["FR", "DE"]}),
        )
        relaxed = replace(german(), enforces=frozenset({"egress", "isolation"}))
        one = used(both, inputs=frozenset({"patients"}))
        assert judge(one, relaxed, ATLAS, NOW).failing == {"process"}
        assert judge(used(both, inputs=frozenset({"patients", "staff"})), relaxed, ATLAS, NOW).allowed
        assert judge(used(both), relaxed, ATLAS, NOW).allowed

    def test_one_for_a_dataset_does_not_touch_a_floor_of_the_same_name(self) -> None:
        """Names are told apart by who speaks."""
        floor = in_force(
            a_layer("project", "patients", **{**FIVE, "describe": ["FR", "DE"], "class_": "internal"}),
        )
        assert judge(used(floor, inputs=frozenset({"patients"})), german(), ATLAS, NOW).failing == {"process"}

    def test_storing_reading_and_describing_are_judged_by_the_same_step(self) -> None:
        """Each by its facet."""
        of = of_project()
        abroad = a_pool(endpoints=tuple(replace(one, territory="SE") for one in endpoints("FR")))
        with_keys = of_project(key=["FR", "SE"])
        assert judge_storage(with_keys, abroad, ATLAS, NOW).failing == {"store"}
        stored = judge_storage(used(with_keys, facet="store", to=["SE"]), abroad, ATLAS, NOW)
        assert (stored.allowed, stored.good_until) == (True, END)
        reader = judge_reader(used(of, facet="access", to=["NO"]), "NO", ATLAS, NOW)
        assert (judge_reader(of, "NO", ATLAS, NOW).allowed, reader.allowed, reader.good_until) == (False, True, END)
        here = ControlPlaneFacts(territory="SE", operator="auvergne-calcul", entities=ENTITIES)
        described = judge_control_plane(used(of, facet="describe", to=["SE"]), here, ATLAS, NOW)
        assert judge_control_plane(of, here, ATLAS, NOW).failing == {"describe"}
        assert (described.allowed, described.good_until) == (True, END)


class TestTheRecord:
    """An effective policy carries what was used on it."""

    @pytest.mark.parametrize("inputs", [None, frozenset({"patients"})])
    def test_it_is_written_and_read_back(self, inputs: frozenset[str] | None) -> None:
        """With its digest, and derived again from its layers."""
        of = used(in_force(a_layer("input", "patients", **FIVE)), inputs=inputs)
        again = parse_effective(effective_document(of), ATLAS)
        assert again == of
        assert repeats(again)

    def test_it_is_another_policy_than_without(self) -> None:
        """Also by digest, so that no mask or verdict of one is taken for the other's."""
        of = of_project()
        digests = {of.digest, used(of).digest, used(of, to=["SE"]).digest, used(of, inputs=frozenset({"x"})).digest}
        assert len(digests) == 4

    def test_where_single_inputs_are_covered_the_layers_count(self) -> None:
        """The same meet from other layers is widened otherwise."""
        one = in_force(a_layer("input", "a", **FIVE), a_layer("input", "b"))
        two = in_force(a_layer("input", "a"), a_layer("input", "b", **FIVE))
        assert one.digest == two.digest
        covered = {"inputs": frozenset({"a"})}
        assert used(one, **covered).digest != used(two, **covered).digest

    def test_a_document_without_any_is_as_it_always_was(self) -> None:
        """Digests of policies that were accepted before derogations existed still fit."""
        assert "derogations" not in effective_document(of_project())


#: The good pool, and one for each fact that can be worse.
EACH_WORSE = (a_pool(), *(replace(a_pool(), **{name: value}) for name, value in WORSE))
#: Those that lack what every statement asks for.
BARE = (replace(a_pool(), certifications=(), seal=(0,) * 8), replace(a_pool(), certifications=(), territory="BR"))


def _values(facet: str) -> st.SearchStrategy[Any]:
    return FACET_VALUES[facet].map(lambda value: a_policy(**{facet: value}).facet(facet))


def test_what_can_be_widened_is_every_limit() -> None:
    """And nothing else: a new facet has to be thought about."""
    assert {*DEROGABLE, "class", "valid_until", "non_derogable"} == set(FACETS)


@pytest.mark.parametrize("facet", [one for one in DEROGABLE if one not in ALTERNATIVES])
def test_a_join_lets_through_what_either_side_does_and_no_more(facet: str) -> None:
    """For each facet, over drawn pools; and it is commutative and idempotent."""
    seen: Counter[bool] = Counter()

    @settings(steady, max_examples=30)
    @given(_values(facet), _values(facet), instants)
    def check(one: Any, two: Any, instant: datetime) -> None:
        both = joined(facet, one, two)
        assert both == joined(facet, two, one)
        assert joined(facet, one, one) == one
        for pool in EACH_WORSE:
            sides = [_allows(facet, value, pool, instant) for value in (one, two)]
            assert _allows(facet, both, pool, instant) is any(sides)
            seen[sides[0] != sides[1]] += 1

    check()
    assert seen[True], seen


@pytest.mark.parametrize("facet", DEROGABLE)
def test_what_passes_meets_the_policy_or_the_derogation(facet: str) -> None:
    """Whatever is stated and whatever is to be enough: nothing passes that meets neither."""
    seen: Counter[tuple[bool, ...]] = Counter()

    @settings(steady, max_examples=20)
    @given(_documents(facet), _documents(facet), st.sampled_from([None, frozenset({"patients"})]))
    def check(stated: Any, to: Any, inputs: frozenset[str] | None) -> None:
        if facet == "egress":
            inputs = None
        of = in_force(a_layer("input", "patients", **{"class_": "public", facet: stated}))
        with_it = used(of, inputs=inputs, facet=facet, to=to)
        for pool in (*EACH_WORSE, *BARE):
            sides = [_allows(facet, a_policy(**{facet: value}).facet(facet), pool, NOW) for value in (stated, to)]
            assert (facet not in judge(with_it, pool, ATLAS, NOW).failing) is any(sides)
            seen[tuple(sides)] += 1

    check()
    # No pool tells one list of endpoints from another.
    assert seen[False, True] or facet == "egress", seen
    assert seen[False, False], seen


def _allows(facet: str, value: Any, pool: PoolFacts, instant: datetime) -> bool:
    policy = replace(EMPTY, **{attribute_of(facet): value})
    return facet not in permits(policy, pool, ATLAS, instant).failing


def test_another_certificate_does_not_stand_for_none() -> None:
    """Two signed that one certificate is enough in place of another; a pool that has neither was not meant."""
    of = of_project(certifications={"hds": "v2"})
    with_it = used(of, facet="certifications", to={"c5": "type1"})
    assert judge(with_it, a_pool(), ATLAS, NOW).allowed
    bare = replace(a_pool(), certifications=())
    assert judge(with_it, bare, ATLAS, NOW).failing == {"certifications"}
    mask = compile_mask(with_it, (bare, a_pool()), ATLAS, NOW)
    assert (mask.bits, mask.good_until) == (0b10, judge(with_it, a_pool(), ATLAS, NOW).good_until)
    assert [[one.facet for one in mask.shortfalls(place)] for place in (0, 1)] == [["certifications"], []]
    for inputs in (frozenset({"patients"}), None):
        data = in_force(a_layer("input", "patients", **{**FIVE, "class_": "internal", "certifications": {"hds": "v2"}}))
        one = used(data, inputs=inputs, facet="certifications", to={"c5": "type1"})
        assert "certifications" not in judge(one, a_pool(), ATLAS, NOW).failing
        assert "certifications" in judge(one, bare, ATLAS, NOW).failing


def _both_hds(*derogations: tuple[str, str, Any]) -> Effective:
    """Return a policy of two inputs that ask for HDS, under derogations: an id, an input, and what is enough."""
    of = in_force(
        *(a_layer("input", name, class_="public", certifications={"hds": "v2"}) for name in ("patients", "scans"))
    )
    covered = [
        Covering(a_derogation(id=id_, facet="certifications", to=to), frozenset({name}))
        for id_, name, to in derogations
    ]
    return derogated(of, covered)


def test_a_derogation_takes_nothing_from_another() -> None:
    """Of each input any of its derogations is enough, beside any of the other's; and none of another's word is lost."""
    needless = ("drg_3", "patients", {"secnumcloud": "3.2"})
    two = (("drg_1", "patients", {"c5": "type1"}), ("drg_2", "scans", {"c5": "type1"}))
    for some in (two, (*two, needless), (("drg_0", *needless[1:]), *two)):
        with_it = _both_hds(*some)
        assert judge(with_it, a_pool(), ATLAS, NOW).allowed, some
        assert compile_mask(with_it, (a_pool(),), ATLAS, NOW).bits == 1
        assert [one.derogation.id for one in fewest(with_it.derogations, _lets(with_it))] == ["drg_1", "drg_2"]
    for few in ((two[0],), (two[1],), (two[0], needless)):
        assert judge(_both_hds(*few), a_pool(), ATLAS, NOW).failing == {"certifications"}


def _lets(of: Effective) -> Callable[[tuple[Covering, ...]], bool]:
    return lambda some: judge(derogated(of, some), a_pool(), ATLAS, NOW).allowed


def test_of_very_many_words_no_end_of_ways_is_tried() -> None:
    """Nine inputs with one derogation each are 512; that all are widened is among the first."""
    names = [f"data-{number}" for number in range(9)]
    of = in_force(*(a_layer("input", name, class_="public", certifications={"hds": "v2"}) for name in names))
    covered = [
        Covering(a_derogation(id=f"drg_{name}", facet="certifications", to={"c5": "type1"}), frozenset({name}))
        for name in names
    ]
    with_it = derogated(of, covered)
    assert len(in_force_at(with_it, NOW).instead["certifications"]) <= MOST_TOGETHER + 9
    assert judge(with_it, a_pool(), ATLAS, NOW).allowed


def test_whom_to_fear_is_not_traded_for_nobody() -> None:
    """Exposure to one state is to be enough in place of another; exposure to both is not."""
    of = of_project(forbid_exposure=["US"])
    with_it = used(of, facet="forbid_exposure", to=["FR"])
    assert judge(with_it, a_pool(), ATLAS, NOW).allowed
    bought = {**ENTITIES, "auvergne-calcul": replace(ENTITIES["auvergne-calcul"], presences=frozenset({"US"}))}
    exposed = replace(a_pool(), entities=bought)
    assert judge(of, exposed, ATLAS, NOW).failing == {"forbid_exposure"}
    assert judge(with_it, exposed, ATLAS, NOW).failing == {"forbid_exposure"}
    here = ControlPlaneFacts(territory="FR", operator="auvergne-calcul", entities=bought)
    assert judge_control_plane(with_it, here, ATLAS, NOW).failing == {"forbid_exposure"}


def test_a_certificate_that_is_enough_is_watched_to_its_end() -> None:
    """The verdict ends when it does, though the policy asks for another."""
    c5 = Certification("c5", "type1", frozenset(Service), None, NOW + timedelta(days=1))
    with_it = used(of_project(certifications={"hds": "v2"}), facet="certifications", to={"c5": "type1"})
    verdict = judge(with_it, replace(a_pool(), certifications=(c5,)), ATLAS, NOW)
    assert (verdict.allowed, verdict.good_until) == (True, NOW + timedelta(days=1))
    early = replace(c5, valid_from=NOW + timedelta(hours=1), valid_until=NOW + timedelta(days=20))
    verdict = judge(with_it, replace(a_pool(), certifications=(early,)), ATLAS, NOW)
    assert (verdict.allowed, verdict.good_until) == (False, NOW + timedelta(hours=1))


def test_a_derogation_never_takes_anything_away() -> None:
    """Over drawn layers and pools: allowed without is allowed with, and only its facet can change to allowed."""
    helped: Counter[str] = Counter()

    @settings(steady, max_examples=150)
    @given(
        owner_and_floor_layers,
        st.sampled_from(DEROGABLE).flatmap(
            lambda facet: st.tuples(st.just(facet), _documents(facet), _documents(facet))
        ),
        st.sampled_from([None, frozenset({"patients"})]),
    )
    def check(layers: list[Layer], what: tuple[str, Any, Any], inputs: frozenset[str] | None) -> None:
        facet, stated, to = what
        of = in_force(*layers, a_layer("input", "patients", **{facet: stated}), has_content=True)
        with_it = used(of, inputs=inputs, facet=facet, to=to)
        for pool in EACH_WORSE:
            plain, widened = judge(of, pool, ATLAS, NOW), judge(with_it, pool, ATLAS, NOW)
            assert widened.failing <= plain.failing
            assert plain.failing - widened.failing <= {facet}
            helped[facet] += plain.failing != widened.failing

    check()
    assert sum(bool(times) for times in helped.values()) >= 4, helped


def _documents(facet: str) -> st.SearchStrategy[Any]:
    return FACET_VALUES[facet].filter(lambda value: value != "unenforced")


def test_a_swedish_pool_is_no_german_one() -> None:
    """The builders above differ where they should."""
    assert a_swedish_pool().territory != german().territory
