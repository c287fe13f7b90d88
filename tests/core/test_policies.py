"""Parsed policies are kept by what names their documents, and floors of today stand beside them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from nordan_core.domain.ids import OrganisationId, ProjectId
from nordan_core.domain.tenants import Project
from nordan_core.policies import PolicyShelf
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.floors import standing
from nordan_core.residency.layers import Layer, LayerKind, effective
from support.residency import ATLAS, a_policy

EU = {facet: ["EU"] for facet in ("process", "store", "describe", "access", "key")}


def a_project(floor: dict[str, Any] | None = None, name: str = "default") -> Project:
    stated = {"class": "internal", **EU} if floor is None else floor
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return Project(ProjectId(f"prj_{name}"), OrganisationId("org"), "acme", name, stated, {}, at)


def a_document(**facets: object) -> dict[str, Any]:
    layers = [
        Layer(LayerKind.PROJECT, "default", a_policy(class_="internal", **EU)),
        Layer(LayerKind.JOB, "job", a_policy(**facets)),
    ]
    return dict(effective_document(effective(layers, has_content=False)))


def test_what_was_learned_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, derived = PolicyShelf(ATLAS), []

    def counting(*args: Any) -> Any:
        derived.append(args)
        return standing(*args)

    monkeypatch.setattr("nordan_core.policies.standing", counting)
    shelf.learn_jobs({"one": a_document(process=["FR"])})
    assert shelf.unknown_jobs(["one", "two", "two"]) == ["two"]
    first = shelf.of_job("one", a_project())
    assert shelf.of_job("one", a_project()) is first
    assert len(derived) == 1
    [accepted] = first
    assert accepted.digest == a_document(process=["FR"])["digest"]


def test_a_floor_of_today_stands_beside_what_was_accepted() -> None:
    shelf = PolicyShelf(ATLAS)
    shelf.learn_jobs({"one": a_document()})
    tightened = a_project({"class": "internal", **EU, "process": ["SE"]})
    accepted, today = shelf.of_job("one", tightened)
    assert [str(of.policy.process) for of in (accepted, today)] == ["[EU]", "[SE]"]
    assert len(shelf.of_job("one", a_project())) == 1


def test_data_are_bound_by_their_owner_and_by_the_floors() -> None:
    shelf = PolicyShelf(ATLAS)
    shelf.learn_data({"one": {"store": ["FR"]}})
    [of] = shelf.of_data("one", a_project())
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert of.policy.store is not None
    assert of.policy.process is not None
    assert of.policy.store.expand(ATLAS, now) == {"FR"}
    assert of.policy.process.expand(ATLAS, now) == ATLAS.group("EU", now)


def test_what_cannot_be_read_allows_nothing_and_what_is_unknown_is_no_answer() -> None:
    shelf = PolicyShelf(ATLAS)
    shelf.learn_jobs({"broken": {"policy": 1}})
    shelf.learn_data({"broken": {"store": 1}})
    assert shelf.of_job("broken", a_project()) == ()
    assert shelf.of_data("broken", a_project()) == ()
    shelf.learn_data({"good": {}})
    assert shelf.of_data("good", a_project({"store": ["Atlantis"]})) == ()
    with pytest.raises(LookupError):
        shelf.of_job("never", a_project())
    with pytest.raises(LookupError):
        shelf.of_data("never", a_project())


def test_room_is_made_for_all_that_is_asked_at_once() -> None:
    shelf = PolicyShelf(ATLAS, kept=1)
    shelf.learn_data({str(number): {} for number in range(3)})
    assert shelf.unknown_data("012") == ["0", "1"]
    shelf.make_room(3)
    shelf.learn_data({str(number): {} for number in range(3)})
    assert shelf.unknown_data("012") == []
