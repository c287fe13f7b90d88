"""Effective policies survive the store and certificates unchanged, and a change shows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nordan_core.residency.derogations import Covering
from nordan_core.residency.effective_text import (
    effective_document,
    judged_document,
    parse_effective,
    parse_judged,
    repeats,
)
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.judge import judge
from nordan_core.residency.layers import Effective
from nordan_core.residency.levels import DataClass
from nordan_core.residency.widening import derogated
from support.derogations import a_derogation
from support.residency import ATLAS, NOW, a_german_pool, a_layer, a_pool, a_swedish_pool, in_force


def an_effective() -> Effective:
    floor = a_layer("project", class_="internal", residency=["EU"])
    owner = a_layer("input", "patients", residency=["FR", "SE"], forbid_exposure=["US"], egress="unenforced")
    return in_force(floor, owner, a_layer("job", "train", process=["SE"]), has_content=True)


def stored(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(effective_document(an_effective())))
    return {**document, **changes}


def test_what_is_stored_comes_back_equal() -> None:
    assert parse_effective(stored(), ATLAS) == an_effective()


def test_what_is_missing_comes_back_too() -> None:
    missing = in_force(a_layer("job", residency=["FR"]))
    assert parse_effective(effective_document(missing), ATLAS) == missing


def test_a_derivation_can_be_repeated_from_its_layers() -> None:
    assert repeats(an_effective())
    assert repeats(parse_effective(stored(), ATLAS))


def test_a_policy_that_its_layers_do_not_derive_does_not_repeat() -> None:
    honest = an_effective()
    assert not repeats(replace(honest, policy=replace(honest.policy, class_=DataClass.PUBLIC)))
    assert not repeats(replace(honest, layers=honest.layers[:1]))
    assert not repeats(replace(honest, layers=(a_layer("job", egress=["x"]),)))


def test_layers_that_could_never_stand_together_do_not_repeat() -> None:
    forged = replace(a_layer("input", egress="unenforced"), kind=a_layer("job").kind)
    assert not repeats(replace(an_effective(), layers=(forged,)))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a policy changed by hand": ({"policy": {"process": ["DE"]}}, "digest"),
    "a missing facet dropped": ({"missing": ["process"]}, "digest"),
    "another digest": ({"digest": "0" * 64}, "digest"),
    "no digest": ({"digest": None}, "digest"),
    "an unknown field": ({"more": 1}, "more"),
    "a wrong code in the policy": ({"policy": {"process": ["UK"]}}, "policy.process.0"),
    "a layer of an unknown kind": ({"layers": [{"kind": "user", "name": "x", "policy": {}}]}, "layers.0.kind"),
    "a layer without a name": ({"layers": [{"kind": "job", "policy": {}}]}, "layers.0.name"),
    "a wrong code in a layer": (
        {"layers": [{"kind": "job", "name": "x", "policy": {"key": ["fr"]}}]},
        "layers.0.policy.key.0",
    ),
    "an unknown facet that is missing": ({"missing": ["class"]}, "missing.0"),
    "an unknown facet that is stated": ({"stated_by": {"residency": []}}, "stated_by.residency"),
    "an unknown kind that states": ({"stated_by": {"process": ["user"]}}, "stated_by.process"),
    "content that is no flag": ({"has_content": "yes"}, "has_content"),
    "no policy": ({"policy": None}, "policy"),
}


@pytest.mark.parametrize(("changes", "field"), FAULTS.values(), ids=FAULTS)
def test_a_stored_policy_with_a_fault_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_effective(stored(**changes), ATLAS)
    assert caught.value.field == field


class TestWhatTheLogKeeps:
    """A policy as it was judged: enough to judge again, without the names that tenants gave."""

    def test_it_has_the_digest_and_no_name(self) -> None:
        document = judged_document(an_effective())
        assert parse_judged(document, ATLAS).digest == an_effective().digest
        assert "patients" not in json.dumps(document)

    @pytest.mark.parametrize("inputs", [None, ["patients"]])
    def test_with_a_derogation_it_judges_the_same(self, inputs: list[str] | None) -> None:
        """One for an input tells layers apart, so they come with it."""
        told = None if inputs is None else frozenset(inputs)
        of = derogated(an_effective(), [Covering(a_derogation(), told)])
        again = parse_judged(json.loads(json.dumps(judged_document(of))), ATLAS)
        assert again.digest == of.digest != an_effective().digest
        for pool in (a_pool(), a_swedish_pool(), a_german_pool()):
            for instant in (NOW, NOW + timedelta(days=8)):
                one, other = judge(of, pool, ATLAS, instant), judge(again, pool, ATLAS, instant)
                assert (one.allowed, one.good_until, one.failing) == (other.allowed, other.good_until, other.failing)

    def test_a_changed_one_has_another_digest(self) -> None:
        document = judged_document(an_effective())
        assert parse_judged({**document, "missing": ["process"]}, ATLAS).digest != an_effective().digest
        with pytest.raises(PolicyError):
            parse_judged({**document, "more": 1}, ATLAS)
