"""The leader's look at what is there, over a real database: fenced once, explained, released, never under old law."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nordan_core.atlases import AtlasShelf
from nordan_core.clock import ManualClock
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind, FileEntry, Manifest
from nordan_core.domain.ids import ArtifactId, JobId, RegionCode
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.facts import FactsCache
from nordan_core.identifiers import new_id
from nordan_core.store.leadership import NotLeader
from nordan_scheduler import fencer as fencer_module
from nordan_scheduler.fencer import Fencer
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.revisit import to_fence
from support.cell import FR, SE, Cell, lead, state_of
from support.scheduling import a_cycle

FREE: dict[str, object] = {"forbid_exposure": ["US"]}
BOUGHT: dict[str, Any] = {
    "kind": "Entity",
    "name": "auvergne-calcul",
    "seat": "FR",
    "presences": [],
    "owners": [{"owner": "larkspur", "capital_percent": 100, "votes_percent": 100, "control": "veto"}],
}
LARKSPUR: dict[str, Any] = {"kind": "Entity", "name": "larkspur", "seat": "US", "presences": [], "owners": []}
FRENCH: dict[str, Any] = {"kind": "Entity", "name": "auvergne-calcul", "seat": "FR", "presences": [], "owners": []}
ELSEWHERE: list[dict[str, Any]] = [
    {"kind": "Entity", "name": "caisse", "seat": "FR", "presences": [], "owners": []},
    {"kind": "ControlPlane", "territory": "FR", "operator": "caisse"},
]


@pytest.fixture
def epoch(cell: Cell) -> int:
    """Return the epoch of a leader of a control plane that is somebody else's than the pools."""
    cell.apply([*ELSEWHERE, LARKSPUR])
    return lead(cell.store)


def a_fencer(cell: Cell) -> Fencer:
    return Fencer(cell.store, cell.clock, FactsCache(AtlasShelf()), Metrics())


def running(cell: Cell, epoch: int, count: int = 1, **more: Any) -> list[JobId]:
    jobs = cell.submit(count, **more)
    assert a_cycle(cell).run(epoch).placed == count
    for grant in cell.grants():
        cell.redeem(*grant)
    cell.run("update attempt set state = 'running', running_at = now() where state = 'redeemed'")
    cell.run("update job set state = 'running' where state = 'starting'")
    return jobs


def acts(cell: Cell, act: str) -> int:
    [(count,)] = cell.rows("select count(*) from audit_entry where act = :act", act=act)
    return int(count)


def store_bytes(cell: Cell, *regions: str, policy: dict[str, object] | None = None) -> ArtifactId:
    content = Manifest.of([FileEntry("a.csv", "0" * 64, 1)])
    artifact = Artifact(
        id=ArtifactId(new_id("art")),
        organisation=cell.organisation,
        project=cell.project,
        kind=ArtifactKind.OUTPUT,
        name="model",
        manifest=content,
        digest=content.digest,
        policy=FREE if policy is None else policy,
        created_at=cell.clock.now(),
        regions=tuple(RegionCode(one) for one in regions),
    )
    with cell.store.begin() as work:
        work.contents.add_artifact(artifact)
    return artifact.id


class TestAttempts:
    """What may not go on loses its grant; its owner is told which facet."""

    def test_nothing_happens_while_everything_is_lawful(self, cell: Cell, epoch: int) -> None:
        """However often it looks."""
        [job] = running(cell, epoch, policy=FREE)
        version = cell.job(job).version
        fencer = a_fencer(cell)
        for _ in range(3):
            fencer.step(epoch)
        assert (state_of(cell, job), cell.job(job).version) == (JobState.RUNNING, version)
        assert acts(cell, "grant_revoked") == 0

    def test_a_running_attempt_is_fenced_by_a_change_of_ownership(self, cell: Cell, epoch: int) -> None:
        """Stop asked for, grant revoked, one entry, the facet in the history; the neighbour goes on."""
        [job], [neighbour] = running(cell, epoch, policy=FREE), running(cell, epoch)
        fencer = a_fencer(cell)
        fencer.step(epoch)
        cell.apply([BOUGHT])
        fencer.step(epoch)
        fencer.step(epoch)
        rows = cell.rows(
            "select a.stop_reason, g.state, a.verdicts -> 'fence' -> 'refusals' -> 0 ->> 'facet' from attempt a"
            " join attempt_grant g on g.attempt_id = a.id where a.job_id = :job",
            job=job,
        )
        assert rows == [("fenced", "revoked", "forbid_exposure")]
        told = cell.job(job)
        assert (told.state, told.reason) == (JobState.RUNNING, Reason.FENCED)
        assert told.message.startswith("forbid_exposure: auvergne-calcul can be compelled")
        assert [one.message for one in told.history if one.reason is Reason.FENCED] == [told.message]
        assert cell.job(neighbour).reason is None
        assert acts(cell, "grant_revoked") == 1

    def test_its_end_is_named_by_the_judge_and_not_by_the_region(self, cell: Cell, epoch: int) -> None:
        """And the log has one entry for it."""
        [job] = running(cell, epoch, policy=FREE)
        cell.apply([BOUGHT])
        a_fencer(cell).step(epoch)
        cell.end(job, AttemptResult.FAILED, reason=Reason.CONTAINER_EXIT, message="killed")
        ended = cell.job(job)
        assert (ended.state, ended.reason) == (JobState.FENCED, Reason.FENCED)
        assert ended.message.startswith("forbid_exposure: ")
        assert (acts(cell, "attempt_fenced"), acts(cell, "attempt_ended")) == (1, 0)
        assert cell.free_gpus() == 32

    def test_one_that_no_region_has_taken_ends_at_once(self, cell: Cell, epoch: int) -> None:
        """Its GPUs are free again, and nobody can redeem it."""
        [job] = cell.submit(policy=FREE)
        a_cycle(cell).run(epoch)
        cell.apply([BOUGHT])
        a_fencer(cell).step(epoch)
        assert state_of(cell, job) is JobState.FENCED
        assert cell.grants() == []
        assert cell.free_gpus() == 32
        assert (acts(cell, "grant_revoked"), acts(cell, "attempt_fenced")) == (1, 1)

    def test_an_end_that_moves_no_epoch_is_found_at_its_instant(self, cell: Cell, epoch: int) -> None:
        """A policy that ends while the verdict is remembered."""
        clock = ManualClock(cell.clock.now())
        end = clock.now().replace(microsecond=0) + timedelta(days=1)
        [job] = running(cell, epoch, policy={"valid_until": end.isoformat()})
        fencer = a_fencer(replace(cell, clock=clock))
        fencer.step(epoch)
        assert cell.job(job).reason is None
        clock.advance((end - clock.now()).total_seconds() - 1)
        fencer.step(epoch)
        assert cell.job(job).reason is None
        clock.advance(1)
        fencer.step(epoch)
        assert cell.job(job).message.startswith("valid_until: ")

    def test_a_floor_that_is_tightened_fences_what_was_accepted_before(self, cell: Cell, epoch: int) -> None:
        """Under the epoch of that change."""
        [job] = running(cell, epoch)
        with cell.store.begin() as work:
            law = work.epoch.step()
            rest = {facet: ["EU"] for facet in ("store", "describe", "access", "key")}
            work.tenants.set_project_floor(cell.project, {"class": "internal", "process": ["SE"], **rest})
        a_fencer(cell).step(epoch)
        assert cell.job(job).message.startswith("process: ")
        assert cell.rows("select body -> 'epoch' from audit_entry where act = 'grant_revoked'") == [(law,)]

    def test_many_are_fenced_in_chunks(self, cell: Cell, epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each exactly once, by one act."""
        monkeypatch.setattr(fencer_module, "CHUNK", 3)
        jobs = running(cell, epoch, 8, policy=FREE)
        cell.apply([BOUGHT])
        a_fencer(cell).step(epoch)
        assert cell.rows("select count(*) from attempt where stop_reason = 'fenced'") == [(8,)]
        assert acts(cell, "grant_revoked") == len(jobs)
        subjects = cell.rows("select distinct subject from audit_entry where act = 'grant_revoked'")
        assert {one for (one,) in subjects} == set(jobs)

    def test_law_that_moves_while_it_writes_is_judged_again(
        self, cell: Cell, epoch: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is fenced under a law that is gone: the sale was taken back before it wrote."""
        [job] = running(cell, epoch, policy=FREE)
        cell.apply([BOUGHT])

        def judged_and_taken_back(*words: Any) -> Any:
            found = to_fence(*words)
            assert found
            cell.apply([FRENCH])
            return found

        monkeypatch.setattr(fencer_module, "to_fence", judged_and_taken_back)
        fencer = a_fencer(cell)
        assert fencer.step(epoch) == 0.0
        monkeypatch.undo()
        fencer.step(epoch)
        assert cell.job(job).reason is None
        assert acts(cell, "grant_revoked") == 0

    def test_a_deposed_leader_fences_nothing(self, cell: Cell, epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither before it judges nor after."""
        [job] = running(cell, epoch, policy=FREE)
        cell.apply([BOUGHT])

        def judged_and_deposed(*words: Any) -> Any:
            cell.run("update leader set until = now() - interval '1 s'")
            lead(cell.store)
            return to_fence(*words)

        monkeypatch.setattr(fencer_module, "to_fence", judged_and_deposed)
        with pytest.raises(NotLeader):
            a_fencer(cell).step(epoch)
        with pytest.raises(NotLeader):
            a_fencer(cell).step(epoch)
        assert cell.job(job).reason is None

    def test_a_policy_that_this_version_cannot_read_is_denied(self, cell: Cell, epoch: int) -> None:
        """What is unknown is denied, and says so."""
        [job] = running(cell, epoch)
        cell.run("update job set effective = '{}'")
        a_fencer(cell).step(epoch)
        assert cell.job(job).message.startswith("policy: ")


class TestPlaces:
    """Bytes stay where they are; who may read them follows the law."""

    def test_a_place_is_closed_and_opened_again(self, cell: Cell, epoch: int) -> None:
        """Each one act; the artifact as a whole is fenced while all its places are."""
        artifact = store_bytes(cell, FR, SE)
        fencer = a_fencer(cell)
        fencer.step(epoch)
        assert acts(cell, "artifact_fenced") == 0
        cell.apply([BOUGHT])
        fencer.step(epoch)
        fencer.step(epoch)
        found = _artifact(cell, artifact)
        assert (found.readable, set(found.fences), set(found.regions)) == ((), {FR, SE}, {FR, SE})
        assert found.fenced_at is not None
        assert found.fences[FR]["refusals"][0]["facet"] == "forbid_exposure"
        assert acts(cell, "artifact_fenced") == 2
        cell.apply([FRENCH])
        fencer.step(epoch)
        found = _artifact(cell, artifact)
        assert (set(found.readable), found.fences, found.fenced_at) == ({FR, SE}, {}, None)
        assert (acts(cell, "artifact_released"), acts(cell, "artifact_fenced")) == (2, 2)

    def test_only_the_place_that_became_unlawful_is_closed(self, cell: Cell, epoch: int) -> None:
        """A job that needs the bytes may run at the other one, and only there."""
        artifact = store_bytes(cell, FR, SE, policy={"store": ["SE"]})
        a_fencer(cell).step(epoch)
        found = _artifact(cell, artifact)
        assert (found.readable, found.fenced_at) == ((SE,), None)
        [job] = cell.submit(inputs={"model": artifact})
        with cell.store.begin() as work:
            assert work.scheduling.data([job])[job].regions == {SE}

    def test_a_place_that_is_added_opens_the_whole(self, cell: Cell, epoch: int) -> None:
        """Bytes that were copied lawfully can be read where they are now."""
        artifact = store_bytes(cell, FR, policy={"store": ["SE"]})
        a_fencer(cell).step(epoch)
        assert _artifact(cell, artifact).fenced_at is not None
        with cell.store.begin() as work:
            work.contents.add_location(artifact, SE, cell.clock.now())
        found = _artifact(cell, artifact)
        assert (found.readable, found.fenced_at) == ((SE,), None)

    def test_what_the_region_is_told_ends_with_the_leave_that_may_be_about(self, cell: Cell, epoch: int) -> None:
        """By artifact, since equal bytes may lie there under another policy."""
        artifact = store_bytes(cell, FR, policy={"store": ["SE"]})
        store_bytes(cell, FR)
        a_fencer(cell).step(epoch)
        [(at,)] = cell.rows("select fenced_at from location where fenced_at is not null")
        with cell.store.begin() as work:
            assert work.fencing.closed_in(FR, at.replace(year=2020)) == [artifact]
            assert work.fencing.closed_in(FR, at) == []
            assert work.fencing.closed_in(SE, at.replace(year=2020)) == []

    def test_many_places_are_closed_in_chunks(self, cell: Cell, epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """All of them, each by one act."""
        monkeypatch.setattr(fencer_module, "CHUNK", 2)
        for _ in range(5):
            store_bytes(cell, FR)
        cell.apply([BOUGHT])
        a_fencer(cell).step(epoch)
        assert cell.rows("select count(*) from location where fenced_at is null") == [(0,)]
        assert acts(cell, "artifact_fenced") == 5


def _artifact(cell: Cell, artifact: ArtifactId) -> Artifact:
    with cell.store.begin() as work:
        return work.contents.artifacts([artifact])[artifact]
