"""World documents: how finely shares are read, and what a day without a time means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from nordan_core.domain.errors import Invalid
from nordan_core.residency.entities import entity_document, parse_entity
from nordan_core.world import EntityDocument, PoolDocument, parse_world
from nordan_core.world_facts import entity_of
from support.residency import ATLAS

Json = dict[str, Any]


def company(**share: float) -> Json:
    return {
        "kind": "Entity",
        "name": "op",
        "seat": "FR",
        "presences": [],
        "owners": [{"owner": "us", **share}],
    }


@pytest.mark.parametrize("share", ["capital_percent", "votes_percent"])
@pytest.mark.parametrize("value", [50.00004, 1e-05, 33.33333])
def test_a_share_finer_than_facts_are_read_with_is_refused(share: str, value: float) -> None:
    """50.00004 % is a majority; cut off at four decimals it would be none."""
    with pytest.raises(Invalid) as caught:
        parse_world([company(**{share: value})])
    assert caught.value.field == f"documents.0.owners.0.{share}"
    assert "more than 4 decimals" in caught.value.message


@pytest.mark.parametrize("value", [0, 50, 50.0001, 33.3333, 100.0])
def test_a_share_of_four_decimals_is_read_back_as_it_was_written(value: float) -> None:
    [document] = parse_world([company(capital_percent=value, votes_percent=value)])
    entity = entity_of(document.stored())
    assert parse_entity(entity_document(entity), ATLAS) == entity
    assert entity.owners is not None
    assert entity.owners[0].capital == round(value * 10_000)


def test_a_day_without_a_time_begins_at_its_first_moment_and_ends_with_its_last_second() -> None:
    day = "2026-01-01"
    attested = {"name": "dpf", "valid_from": day, "valid_until": day}
    certificate = {"scheme": "c5", "level": "type2", "scope": ["compute"], "valid_from": day, "valid_until": day}
    pool = {
        "kind": "Pool",
        "name": "fr-bru-1-h100",
        "region": "fr-bru-1",
        "provider": "op",
        "accelerator": "H100",
        "gpu_memory_mib": 81_920,
        "nodes": 1,
        "gpus_per_node": 8,
        "cpus": 64,
        "memory_mib": 1024,
        "price_eur_per_gpu_h": 2,
        "certifications": [certificate],
        "facts_valid_until": day,
    }
    [entity, described] = parse_world([{**company(), "attestations": [attested]}, pool])
    assert isinstance(entity, EntityDocument)
    assert isinstance(described, PoolDocument)
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    [attestation], [held] = entity.attestations, described.certifications
    assert (attestation.valid_from, attestation.valid_until) == (first, last)
    assert (held.valid_from, held.valid_until) == (first, last)
    assert described.facts_valid_until == last
