from __future__ import annotations

from dataclasses import replace

from nordan_core.atlases import AtlasShelf
from nordan_core.clock import ManualClock
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind, FileEntry, Manifest
from nordan_core.domain.ids import ArtifactId, AttemptId, JobId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult
from nordan_core.facts import FactsCache
from nordan_core.identifiers import new_id
from nordan_scheduler.load import REREAD_S, Loader
from support.cell import FR, SE, Cell, lead
from support.scheduling import a_cycle, a_loader


def _store(
    cell: Cell, kind: ArtifactKind, *regions: RegionCode, job: JobId | None = None, attempt: str | None = None
) -> ArtifactId:
    manifest = Manifest.of([FileEntry("data.csv", "0" * 64, 3)])
    artifact = Artifact(
        id=ArtifactId(new_id("art")),
        organisation=cell.organisation,
        project=cell.project,
        kind=kind,
        name="patients",
        manifest=manifest,
        digest=manifest.digest,
        policy={"residency": ["EU"], "class": "internal"},
        created_at=cell.clock.now(),
        job=job,
        attempt=AttemptId(attempt) if attempt else None,
        regions=regions,
    )
    with cell.store.begin() as work:
        work.contents.add_artifact(artifact)
    return artifact.id


def _regions(loader: Loader, job: JobId) -> set[RegionCode] | None:
    [found] = [one for one in loader.load().snapshot.jobs if one.id == job]
    return None if found.data_regions is None else set(found.data_regions)


def test_a_job_without_data_may_run_anywhere(cell: Cell) -> None:
    [job] = cell.submit()
    assert _regions(a_loader(cell), job) is None


def test_all_inputs_must_lie_in_one_region(cell: Cell) -> None:
    here, both = _store(cell, ArtifactKind.DATASET, FR), _store(cell, ArtifactKind.DATASET, FR, SE)
    [one] = cell.submit(inputs={"a": both})
    [two] = cell.submit(inputs={"a": both, "b": here})
    loader = a_loader(cell)
    assert _regions(loader, one) == {FR, SE}
    assert _regions(loader, two) == {FR}


def test_a_new_location_is_seen_without_a_new_version_of_the_job(cell: Cell) -> None:
    data = _store(cell, ArtifactKind.DATASET, FR)
    [job] = cell.submit(inputs={"a": data})
    loader = a_loader(cell)
    assert _regions(loader, job) == {FR}
    with cell.store.begin() as work:
        work.contents.add_location(data, SE, cell.clock.now())
    assert _regions(loader, job) == {FR, SE}


def test_fenced_data_lie_nowhere(cell: Cell) -> None:
    data = _store(cell, ArtifactKind.DATASET, FR)
    [job] = cell.submit(inputs={"a": data})
    cell.run("update artifact set fenced_at = now()")
    assert _regions(a_loader(cell), job) == set()


def test_a_retry_resumes_where_the_newest_checkpoint_lies(cell: Cell) -> None:
    [job] = cell.submit()
    epoch, cycle = lead(cell.store), a_cycle(cell)
    cycle.run(epoch)
    [(attempt, region)] = cell.rows("select id, region from attempt")
    _store(cell, ArtifactKind.CHECKPOINT, region, job=job, attempt=attempt)
    newest = _store(cell, ArtifactKind.CHECKPOINT, region, job=job, attempt=attempt)
    cell.redeem(*cell.grants()[0])
    cell.end(job, AttemptResult.LOST, reason=Reason.NODE_LOST)
    cell.run("update job set not_before = null")
    assert _regions(a_loader(cell), job) == {region}
    cycle.run(epoch)
    assert cell.rows("select resume_from from attempt where number = 2") == [(newest,)]


def test_a_job_that_was_inserted_first_and_commits_last_is_seen(cell: Cell) -> None:
    """A transaction is held open between two others: no cursor runs past its job."""
    loader = a_loader(cell)
    [template] = cell.submit()
    first = cell.job(template)
    with cell.store.begin() as late:
        slow = replace(first, id=JobId(new_id("job")))
        late.jobs.add(slow, policy_digest=str(first.effective["digest"]), klass="internal", inputs={}, wait_until=None)
        [quick] = cell.submit()
        assert {one.id for one in loader.load().snapshot.jobs} == {template, quick}
    assert {one.id for one in loader.load().snapshot.jobs} == {template, quick, slow.id}


def test_a_full_reread_counts_what_the_cache_had_wrong(cell: Cell) -> None:
    clock = ManualClock(cell.clock.now())
    [job] = cell.submit(priority=1)
    loader = Loader(cell.store, clock, FactsCache(AtlasShelf()))
    loader.load()
    cell.run("update job set priority = 5 where id = :job", job=job)
    assert loader.load().snapshot.jobs[0].priority == 1
    assert loader.stale == 0
    clock.advance(REREAD_S + 1)
    assert loader.load().snapshot.jobs[0].priority == 5
    assert loader.stale == 1
