from __future__ import annotations

from nordan_core.domain.reasons import Reason
from nordan_core.domain.refusals import Refusal
from nordan_scheduler.engine.explain import explain, sentence
from support.queueing import NOW, a_job, a_pool, a_snapshot, allowing, nodes_of, outside


def test_every_pool_answers_with_all_that_stands_against_it() -> None:
    pools = [
        a_pool("here", region="fr-bru-1"),
        a_pool("far", region="no-nar-1", price=900),
        a_pool("bare", region="se-bor-1"),
    ]
    nodes = [*nodes_of("here", [8]), *nodes_of("far", [8]), *nodes_of("bare", [8])]
    residency = {"strict": allowing("here", "bare", refusing={"far": outside()})}
    job = a_job(policy="strict", max_price=800, data=["fr-bru-1"])
    answer = explain(a_snapshot([], pools, nodes, residency), job, NOW, 1)
    assert answer.chosen == "here"
    here, far, bare = answer.pools
    assert (here.is_allowed, here.holds_inputs, here.fits_now, here.refusals) == (True, True, True, ())
    assert [one.code for one in far.refusals] == [
        Reason.RESIDENCY_UNSATISFIABLE,
        Reason.DATA_NOT_IN_REGION,
        Reason.PRICE_CAP,
    ]
    assert (bare.is_allowed, bare.holds_inputs, bare.fits_now) == (True, False, False)


def test_a_job_that_fits_nowhere_has_no_chosen_pool() -> None:
    answer = explain(a_snapshot([]), a_job(gpus=8, nodes=2), NOW, 1)
    assert answer.chosen is None
    assert answer.pools[0].refusals[0].code is Reason.GANG_INCOMPLETE


def test_a_refusal_reads_as_a_sentence() -> None:
    assert sentence(outside()) == "the policy does not allow this pool (process): wants FR or SE, has NO"
    assert sentence(Refusal(Reason.NO_CAPACITY, have="nothing")) == "the pool has no room: has nothing"
    assert sentence(Refusal(Reason.DEPENDENCY)) == "dependency"
