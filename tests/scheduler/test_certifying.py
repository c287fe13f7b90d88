"""From a finished job in the store to a certificate that verifies offline."""

from __future__ import annotations

import pytest

from nordan_core.atlas.loader import default_atlas
from nordan_core.atlases import AtlasShelf
from nordan_core.domain.ids import JobId
from nordan_core.domain.money import Price
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.facts import FactsCache
from nordan_core.proof.certificate import verify_certificate
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.report import VerificationReport
from nordan_core.proof.rotation import Held
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.sealer import Sealer
from support.cell import GRANT_KEY, Cell, lead
from support.scheduling import a_cycle

KEY = SigningKey.create()
HELD = Held(KEY)


def a_sealer(cell: Cell) -> Sealer:
    certifier = Certifier(cell.store, FactsCache(AtlasShelf()))
    return Sealer(cell.store, cell.clock, lambda: HELD, certifier=certifier, metrics=Metrics())


def verified(cell: Cell, job: JobId) -> VerificationReport:
    with cell.store.begin() as work:
        envelope = work.certificates.envelope(job)
    assert envelope is not None
    return verify_certificate(
        envelope, grant_keys=trusted(GRANT_KEY.public), certificate_keys=trusted(KEY.public), atlas=default_atlas()
    )


def _faults(report: VerificationReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.ok}


def test_a_finished_job_gets_a_certificate_that_verifies(cell: Cell) -> None:
    [job] = cell.submit(gpus=8, nodes=2, policy={"forbid_exposure": ["US"]})
    epoch, sealer = lead(cell.store), a_sealer(cell)
    a_cycle(cell).run(epoch)
    cell.redeem(*cell.grants()[0])
    assert sealer.certify(epoch) == 0, "it has not ended"
    cell.end(job)
    assert sealer.certify(epoch) == 0, "its end is not sealed"
    sealer.step(epoch)
    report = verified(cell, job)
    assert _faults(report) == {}
    assert report.certificate is not None
    assert [attempt.region for attempt in report.certificate.attempts] == ["fr-bru-1"]
    assert sealer.certify(epoch) == 0, "it is issued once"


def test_every_attempt_is_told_even_one_that_nobody_took(cell: Cell) -> None:
    [job] = cell.submit(policy={"residency": ["FR"]})
    epoch, sealer, cycle = lead(cell.store), a_sealer(cell), a_cycle(cell)
    cycle.run(epoch)
    cell.end(job, AttemptResult.LOST, reason=Reason.GRANT_EXPIRED)
    cell.run("update job set not_before = null")
    cycle.run(epoch)
    cell.redeem(*cell.grants()[0])
    cell.end(job)
    sealer.step(epoch)
    report = verified(cell, job)
    assert _faults(report) == {}
    assert report.certificate is not None
    assert [one.redeemed_at is None for one in report.certificate.attempts] == [True, False]


def test_a_certificate_quotes_the_facts_as_they_were_judged(cell: Cell) -> None:
    [job] = cell.submit(policy={"residency": ["FR"]})
    epoch, sealer = lead(cell.store), a_sealer(cell)
    a_cycle(cell).run(epoch)
    cell.redeem(*cell.grants()[0])
    cell.end(job)
    cell.apply([{"kind": "Entity", "name": "auvergne-calcul", "seat": "US"}])
    sealer.step(epoch)
    report = verified(cell, job)
    assert {name for name in _faults(report) if name != "judgements"} == set()
    assert report.certificate is not None
    place = report.certificate.attempts[0].place
    assert place.exposure["auvergne-calcul"] == ("FR",)


@pytest.mark.parametrize(
    "damage",
    [
        "update attempt set verdicts = '{}' where job_id = :job",
        "update attempt set verdicts = jsonb_set(verdicts, '{apply,at}', 'null') where job_id = :job",
        "update attempt set result = null where job_id = :job",
    ],
)
def test_one_that_cannot_be_signed_does_not_stand_in_the_way(cell: Cell, damage: str) -> None:
    broken, whole = cell.submit(2)
    epoch, sealer = lead(cell.store), a_sealer(cell)
    a_cycle(cell).run(epoch)
    for grant in cell.grants():
        cell.redeem(*grant)
    cell.end(broken)
    cell.end(whole)
    cell.run(damage, job=broken)
    sealer.step(epoch)
    assert _faults(verified(cell, whole)) == {}
    with cell.store.begin() as work:
        assert work.certificates.envelope(broken) is None
    assert sealer.certify(epoch) == 0, "it is put off"


@pytest.mark.parametrize(
    ("forget", "executor", "is_made_up"),
    [
        (None, "local", True),
        # Attempts that were placed before it was written down are told by today's world.
        (
            "update attempt set verdicts = verdicts #- '{apply,executor}' #- '{apply,has_made_up_gpus}'",
            "kubernetes",
            False,
        ),
    ],
)
def test_a_certificate_says_what_the_place_was_when_the_grant_was_issued(
    cell: Cell, forget: str | None, executor: str, is_made_up: bool
) -> None:
    [job] = cell.submit(policy={"residency": ["FR"]})
    epoch, sealer = lead(cell.store), a_sealer(cell)
    a_cycle(cell).run(epoch)
    cell.redeem(*cell.grants()[0])
    cell.end(job)
    cell.run("update region set document = jsonb_set(document, '{executor}', '\"kubernetes\"')")
    cell.run("update pool set document = jsonb_set(document, '{has_made_up_gpus}', 'false')")
    cell.run("update residency_epoch set epoch = epoch + 1")
    if forget is not None:
        cell.run(forget)
    sealer.step(epoch)
    report = verified(cell, job)
    assert _faults(report) == {}
    assert report.certificate is not None
    [attempt] = report.certificate.attempts
    assert (attempt.executor, attempt.has_made_up_gpus) == (executor, is_made_up)


def test_a_certificate_has_the_digest_of_the_specification_that_the_log_has(cell: Cell) -> None:
    """A job of the version before is stored in another form than this one would store it in."""
    [job] = cell.submit(policy={"residency": ["FR"]}, max_price=Price(2_500_000))
    cell.run("update audit_entry set body = body || '{\"spec_digest\": \"as it was\"}' where act = 'job_accepted'")
    cell.run("update job set spec = spec - 'max_price_micro_eur_per_gpu_h'")
    epoch, sealer = lead(cell.store), a_sealer(cell)
    a_cycle(cell).run(epoch)
    cell.redeem(*cell.grants()[0])
    cell.end(job)
    sealer.step(epoch)
    report = verified(cell, job)
    assert report.certificate is not None
    assert report.certificate.job.spec_digest == "as it was"
