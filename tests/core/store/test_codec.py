"""Specifications come back as they were stored, those of the version before among them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from nordan_core.documents import parse_job
from nordan_core.domain.money import Price
from nordan_core.store.codec import price_cap, spec_document, spec_of

JOB = {"name": "train", "kind": "training", "command": ["true"], "max_price": 2.45}


def test_a_cap_comes_back_as_it_was_written() -> None:
    spec = parse_job(JOB)
    assert spec.max_price == Price(2_450_000)
    assert spec_of(spec_document(spec)) == spec


def test_a_job_of_the_version_before_keeps_its_cap() -> None:
    stored = {**spec_document(parse_job(JOB))}
    del stored["max_price_micro_eur_per_gpu_h"]
    assert stored["max_price"] == 681
    assert spec_of(stored).max_price == Price.per_gpu_hour(Decimal("2.45"))


@pytest.mark.parametrize("cents", range(1, 1000, 7))
def test_whole_cents_are_read_back_from_the_former_unit(cents: int) -> None:
    price = Price(cents * 10_000)
    assert price_cap(None, price.micro_eur_per_gpu_s) == price


@pytest.mark.parametrize("micro_eur", [2_456_000, 2_457_599, 1_234_567])
def test_a_cap_of_the_former_unit_lets_in_what_it_let_in(micro_eur: int) -> None:
    pool = Price(micro_eur)
    cap = price_cap(None, pool.micro_eur_per_gpu_s)
    assert cap is not None
    assert cap >= pool
    assert cap.micro_eur_per_gpu_s == pool.micro_eur_per_gpu_s


def test_no_cap_is_none_in_either_version() -> None:
    assert price_cap(None, None) is None
    assert spec_of(spec_document(parse_job({**JOB, "max_price": None}))).max_price is None
