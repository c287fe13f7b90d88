"""The effective policy: the meet of all layers, then the defaults once. A job can only tighten."""

from __future__ import annotations

from itertools import permutations

import pytest

from nordan_core.residency.errors import PolicyError
from nordan_core.residency.layers import Layer, LayerKind, effective, output_policy
from nordan_core.residency.levels import DataClass
from nordan_core.residency.policy import PLACE_FACETS, UNENFORCED, policy_document
from support.residency import a_layer, a_policy, in_force

FLOOR = a_layer("project", class_="internal", residency=["EU"])
PATIENTS = a_layer("input", "patients", residency=["FR", "SE"], forbid_exposure=["US"])


def test_all_layers_meet() -> None:
    together = in_force(FLOOR, PATIENTS, a_layer("job", process=["SE"]))
    assert policy_document(together.policy) == {
        "process": {"all_of": [["EU"], ["SE"]]},
        **{facet: {"all_of": [["EU"], ["FR", "SE"]]} for facet in PLACE_FACETS[1:]},
        "forbid_exposure": ["US"],
        "class": "internal",
    }


def test_it_is_recorded_who_stated_what() -> None:
    together = in_force(a_layer("job", process=["SE"]), PATIENTS, FLOOR)
    assert together.stated_by["process"] == (LayerKind.PROJECT, LayerKind.INPUT, LayerKind.JOB)
    assert together.stated_by["forbid_exposure"] == (LayerKind.INPUT,)
    assert "egress" not in together.stated_by
    assert [layer.name for layer in together.layers_stating("class")] == ["the-project"]


def test_what_a_default_set_was_stated_by_nobody() -> None:
    together = in_force(a_layer("input", "patients", residency=["FR"]), has_content=True)
    assert together.class_ is DataClass.CONFIDENTIAL
    assert "class" not in together.stated_by
    assert "egress" not in together.stated_by


def test_the_order_of_layers_makes_no_difference() -> None:
    layers = [FLOOR, PATIENTS, a_layer("parent", "p", key=["FR"]), a_layer("job", process=["SE"])]
    results = [effective(order, has_content=True) for order in permutations(layers)]
    assert all(result == results[0] for result in results)


def test_without_any_layer_the_defaults_deny_by_what_is_missing() -> None:
    nothing = in_force()
    assert nothing.class_ is DataClass.INTERNAL
    assert nothing.missing == PLACE_FACETS


CLASSES: dict[str, tuple[list[Layer], bool, str]] = {
    "nobody says and there is content": ([], True, "confidential"),
    "nobody says and there is no content": ([], False, "internal"),
    "a floor says": ([a_layer("project", class_="internal")], True, "internal"),
    "a floor says public": ([a_layer("organisation", class_="public")], True, "public"),
    "an owner says": ([a_layer("input", class_="public")], True, "public"),
    "a parent says": ([a_layer("parent", class_="internal")], True, "internal"),
    "owner and floor say": (
        [a_layer("project", class_="restricted"), a_layer("input", class_="public")],
        True,
        "restricted",
    ),
    "the job alone says less than the default": ([a_layer("job", class_="public")], True, "confidential"),
    "the job alone says less without content": ([a_layer("job", class_="public")], False, "internal"),
    "the job alone says more than the default": ([a_layer("job", class_="restricted")], True, "restricted"),
    "the job says less than the owner": (
        [a_layer("input", class_="restricted"), a_layer("job", class_="public")],
        True,
        "restricted",
    ),
    "the job says more than the owner": (
        [a_layer("input", class_="public"), a_layer("job", class_="internal")],
        True,
        "internal",
    ),
    "one owner of two says public": (
        [a_layer("input", "a", class_="public"), a_layer("input", "b")],
        True,
        "confidential",
    ),
    "both owners say": (
        [a_layer("input", "a", class_="public"), a_layer("input", "b", class_="internal")],
        True,
        "internal",
    ),
    "one owner of two says restricted": (
        [a_layer("input", "a", class_="restricted"), a_layer("input", "b")],
        True,
        "restricted",
    ),
    "one owner of two says and a floor does": (
        [a_layer("project", class_="internal"), a_layer("input", "a", class_="public"), a_layer("input", "b")],
        True,
        "internal",
    ),
}


@pytest.mark.parametrize(("layers", "has_content", "word"), CLASSES.values(), ids=CLASSES)
def test_the_class_is_what_owners_and_floors_say_else_the_default(
    layers: list[Layer], has_content: bool, word: str
) -> None:
    assert effective(layers, has_content=has_content).class_.word == word


NONE: list[str] = []
EGRESS: dict[str, tuple[list[Layer], object]] = {
    "nobody says at confidential": ([a_layer("input", class_="confidential")], NONE),
    "nobody says at restricted": ([a_layer("input", class_="restricted")], NONE),
    "nobody says at internal": ([a_layer("input", class_="internal")], None),
    "the owner says at confidential": ([a_layer("input", class_="confidential", egress=["hub"])], ["hub"]),
    "a floor says at confidential": ([a_layer("project", class_="confidential", egress=["hub"])], ["hub"]),
    "a floor says at confidential and the owner does not": (
        [a_layer("project", class_="confidential", egress=["hub"]), a_layer("input")],
        ["hub"],
    ),
    "the job alone says at confidential": (
        [a_layer("project", class_="confidential"), a_layer("job", egress=["hub"])],
        NONE,
    ),
    "the job alone says at internal": (
        [a_layer("project", class_="internal"), a_layer("job", egress=["hub"])],
        ["hub"],
    ),
    "the job narrows what the owner says": (
        [a_layer("input", class_="confidential", egress=["hub", "pip"]), a_layer("job", egress=["pip"])],
        ["pip"],
    ),
    "the owner waives at confidential": ([a_layer("input", class_="confidential", egress="unenforced")], UNENFORCED),
    "a parent waives": ([a_layer("parent", class_="confidential", egress="unenforced")], UNENFORCED),
    "the job lists what the owner waived": (
        [a_layer("input", class_="confidential", egress="unenforced"), a_layer("job", egress=["hub"])],
        ["hub"],
    ),
    "a floor lists what the owner waived": (
        [a_layer("input", class_="confidential", egress="unenforced"), a_layer("project", egress=["hub"])],
        ["hub"],
    ),
    "one owner of two waives at confidential": (
        [a_layer("input", "a", class_="confidential", egress="unenforced"), a_layer("input", "b")],
        NONE,
    ),
    "one owner of two waives at internal": (
        [a_layer("project", class_="internal"), a_layer("input", "a", egress="unenforced"), a_layer("input", "b")],
        None,
    ),
    "both owners waive": (
        [
            a_layer("input", "a", class_="confidential", egress="unenforced"),
            a_layer("input", "b", class_="internal", egress="unenforced"),
        ],
        UNENFORCED,
    ),
    "one owner waives and the other lists": (
        [
            a_layer("input", "a", class_="confidential", egress="unenforced"),
            a_layer("input", "b", class_="internal", egress=["hub"]),
        ],
        ["hub"],
    ),
    "one owner of two waives and the job lists": (
        [
            a_layer("input", "a", class_="confidential", egress="unenforced"),
            a_layer("input", "b"),
            a_layer("job", egress=["hub"]),
        ],
        NONE,
    ),
}


@pytest.mark.parametrize(("layers", "value"), EGRESS.values(), ids=EGRESS)
def test_egress_is_none_from_confidential_up_unless_owners_or_floors_say(layers: list[Layer], value: object) -> None:
    together = effective(layers, has_content=True)
    assert policy_document(together.policy).get("egress") == value


@pytest.mark.parametrize("kind", ["organisation", "project", "job"])
def test_only_an_owner_may_waive_egress(kind: str) -> None:
    with pytest.raises(PolicyError, match="only the owner of the data may say") as caught:
        in_force(a_layer(kind, egress="unenforced"), PATIENTS)
    assert caught.value.field == "egress"


@pytest.mark.parametrize("kind", ["organisation", "project", "input", "parent"])
def test_an_owner_or_a_floor_can_state_the_five_places(kind: str) -> None:
    assert in_force(a_layer(kind, residency=["FR"])).missing == ()


def test_a_job_cannot_state_the_five_places_for_an_owner() -> None:
    assert in_force(a_layer("job", residency=["FR"])).missing == PLACE_FACETS


@pytest.mark.parametrize("facet", PLACE_FACETS)
def test_each_of_the_five_is_missed_by_itself(facet: str) -> None:
    others = {name: ["FR"] for name in PLACE_FACETS if name != facet}
    assert in_force(a_layer("input", **others), a_layer("job", residency=["FR"])).missing == (facet,)


def test_an_empty_place_is_stated_and_not_missing() -> None:
    assert in_force(a_layer("input", residency=[])).missing == ()


def test_for_public_data_nothing_has_to_be_stated() -> None:
    assert in_force(a_layer("input", class_="public")).missing == ()


def test_the_digest_is_that_of_what_is_judged_and_not_of_names() -> None:
    one = in_force(a_layer("input", "patients", residency=["FR"]))
    assert one.digest == in_force(a_layer("input", "others", residency=["FR"])).digest
    assert one.digest != in_force(a_layer("input", "patients", residency=["SE"])).digest
    stated, missing = a_layer("input", residency=["FR"], class_="internal"), a_layer("job", residency=["FR"])
    internal = a_layer("project", class_="internal")
    assert in_force(stated).policy == in_force(missing, internal).policy
    assert in_force(stated).digest != in_force(missing, internal).digest


OUTPUTS: dict[str, tuple[list[Layer], dict[str, object]]] = {
    "inputs and job meet": (
        [FLOOR, PATIENTS, a_layer("job", process=["SE"])],
        {"process": ["SE"], **{facet: ["FR", "SE"] for facet in PLACE_FACETS[1:]}, "forbid_exposure": ["US"]},
    ),
    "a floor stays with its project": ([a_layer("project", class_="restricted", residency=["FR"])], {}),
    "a class that every owner states is kept": ([a_layer("input", class_="public")], {"class": "public"}),
    "a class that one owner of two states is left to the default": (
        [a_layer("project", class_="public"), a_layer("input", "a", class_="public"), a_layer("input", "b")],
        {},
    ),
    "a job's low class is left to the default": ([a_layer("input"), a_layer("job", class_="internal")], {}),
    "a job's high class is kept": ([a_layer("input"), a_layer("job", class_="restricted")], {"class": "restricted"}),
    "a high class of one owner is kept": (
        [a_layer("input", "a", class_="restricted"), a_layer("input", "b")],
        {"class": "restricted"},
    ),
    "egress that every owner waives stays waived": ([a_layer("input", egress="unenforced")], {"egress": UNENFORCED}),
    "egress that one owner of two waives does not": (
        [a_layer("input", "a", egress="unenforced"), a_layer("input", "b")],
        {},
    ),
    "egress that an owner lists is kept": ([a_layer("input", egress=["hub"])], {"egress": ["hub"]}),
    "egress that the job alone lists becomes none": (
        [a_layer("input"), a_layer("job", egress=["hub"])],
        {"egress": []},
    ),
    "egress that the job narrows is kept": (
        [a_layer("input", egress=["hub", "pip"]), a_layer("job", egress=["hub"])],
        {"egress": ["hub"]},
    ),
}


@pytest.mark.parametrize(("layers", "document"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_are_born_with_what_inputs_and_job_said(layers: list[Layer], document: dict[str, object]) -> None:
    assert output_policy(effective(layers, has_content=True)) == a_policy(**document)
