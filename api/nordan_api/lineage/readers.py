"""Jobs that read what was declassified: when leave is taken back, those that were accepted under it do not go on.

What such a job was accepted under is no longer what its input asks, and what it made would be born as wide. So it is
fenced, whatever it was doing, and cannot be resumed; its owner submits it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.fences import Finding
from nordan_core.domain.ids import ArtifactId
from nordan_core.domain.jobs import Job
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import JobState
from nordan_core.residency.verdicts import FacetRefusal
from nordan_core.store.unit_of_work import UnitOfWork

Json = Mapping[str, Any]  # Any: JSON
_MADE = frozenset({ArtifactKind.OUTPUT, ArtifactKind.CHECKPOINT})


def fence_readers(work: UnitOfWork, artifact: ArtifactId, wider: Json, *, epoch: int, atlas: str, now: datetime) -> int:
    """Fence the jobs that were accepted while an artifact had this wider policy; returns how many.

    The caller holds the residency epoch, so no other job is accepted meanwhile.
    """
    names = work.lineage.lock_readers(artifact)
    jobs = work.jobs.region_jobs(list(names))
    under = [jobs[job] for job, name in names.items() if _stated(jobs[job], name) == dict(wider)]
    findings = {}
    for job in under:
        finding = _finding(job, artifact, epoch, atlas, now)
        attempt = work.lineage.live_attempt(job.id)
        if attempt is not None:
            findings[attempt] = finding
        elif job.state is not JobState.FENCED:
            work.jobs.move(job, JobState.FENCED, Reason.FENCED, finding.message, now)
    work.fencing.attempts(findings, now)
    return len(under)


def input_that_narrowed(work: UnitOfWork, effective: Json, inputs: Iterable[tuple[str, Artifact]]) -> str:
    """Return the name of an input whose policy is not, and was not before, what a job was judged by; else nothing."""
    stated = {one["name"]: one["policy"] for one in effective["layers"] if one["kind"] == "parent"}
    made = {name: one for name, one in inputs if one.kind in _MADE and name in stated}
    given = work.lineage.of_artifacts([one.id for one in made.values()])
    for name, one in made.items():
        stricter = [each.text["from"] for each in given.get(one.id, ()) if each.revoked_at is None]
        if stated[name] not in [dict(one.policy), *stricter]:
            return name
    return ""


def _stated(job: Job, name: str) -> object:
    layers: Any = job.effective["layers"]  # Any: JSON
    return next((one["policy"] for one in layers if (one["kind"], one["name"]) == ("parent", name)), None)


def _finding(job: Job, artifact: ArtifactId, epoch: int, atlas: str, now: datetime) -> Finding:
    refusal = FacetRefusal(
        "policy",
        f"the policy that {artifact} has now",
        "a wider one, by a declassification that was taken back",
        f"the job was accepted while {artifact} was declassified, which was taken back; submit it again",
    )
    return Finding(now, epoch, atlas, (str(job.effective["digest"]),), (refusal.document(),))
