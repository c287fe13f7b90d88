"""What a certificate says of derogations: each that an attempt rested on, who approved it, and the policy under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nordan_core.domain.approvals import Proposal
from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import Attempt, words_of
from nordan_core.domain.jobs import Job
from nordan_core.proof.records import DerogationRecord, SignedRecord
from nordan_core.residency.derogations import Bearings, Covering, coverings, parse_derogation
from nordan_core.residency.effective_text import effective_document, parse_effective
from nordan_core.residency.places import Atlas
from nordan_core.residency.widening import derogated


class Used:
    """The derogations that a job's attempts rested on."""

    def __init__(
        self,
        job: Job,
        attempts: Sequence[Attempt],
        known: Mapping[str, Proposal],
        inputs: Sequence[tuple[str, Artifact]],
        atlas: Atlas,
    ) -> None:
        self._job = job
        self._known = known
        self._atlas = atlas
        datasets = {name: artifact.dataset for name, artifact in inputs if artifact.dataset is not None}
        self._bearings = Bearings(job.project, job.id, datasets)
        self._together = sorted({names for attempt in attempts for names in _together(attempt)})

    def policies(self) -> dict[str, dict[str, object]]:
        """Return the job's policy under each set of derogations that was used, by digest."""
        if not self._together:
            return {}
        accepted = parse_effective(self._job.effective, self._atlas)
        found = [derogated(accepted, self._coverings(names)) for names in self._together]
        return {one.digest: effective_document(one) for one in found}

    def documents(self) -> tuple[DerogationRecord, ...]:
        """Return each derogation with who asked for it and who approved it, in order of id."""
        return tuple(
            _record(self._known[name]) for name in sorted({name for names in self._together for name in names})
        )

    def _coverings(self, names: Sequence[str]) -> tuple[Covering, ...]:
        return coverings([parse_derogation(self._known[name].text, self._atlas) for name in names], self._bearings)


def _together(attempt: Attempt) -> list[tuple[str, ...]]:
    return [tuple(said["derogations"]) for _, said in words_of(attempt.verdicts) if said.get("derogations")]


def _record(proposal: Proposal) -> DerogationRecord:
    return DerogationRecord(
        text=dict(proposal.text),
        digest=proposal.digest,
        requested_by=SignedRecord(proposal.requested_by.key, proposal.requested_by.member, proposal.requested_at),
        approvals=tuple(SignedRecord(one.by.key, one.by.member, one.at) for one in proposal.approvals),
        revoked_at=proposal.revoked_at,
    )
