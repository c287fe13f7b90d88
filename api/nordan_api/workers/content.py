"""What regions put into store: uploads, checkpoints, outputs. Accepted under a live fence, with policy and lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nordan_api.access import READ_S, Way, access_for
from nordan_api.context import Context
from nordan_api.derogating import at_rest
from nordan_api.evidence import Evidence
from nordan_api.jobs.policy import effective_of_data
from nordan_api.resting import documents, readable_regions, rest, sentence, where_lawful, why_not_at_rest
from nordan_api.workers.verdicts import Judge, Judged
from nordan_core.domain.artifacts import Artifact, Upload
from nordan_core.domain.attempts import Attempt
from nordan_core.domain.contents import ArtifactKind, Manifest
from nordan_core.domain.errors import Conflict, Invalid, NotFound, Refused
from nordan_core.domain.ids import ArtifactId, AttemptId, RegionCode, UploadId, is_name
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptState
from nordan_core.facts import FactsBook
from nordan_core.identifiers import new_id
from nordan_core.residency.effective_text import parse_effective
from nordan_core.residency.layers import Effective, output_policy
from nordan_core.residency.policy import policy_document
from nordan_core.store.attempts import LockedAttempt
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import (
    ArtifactAccepted,
    CopySource,
    CopySourceRequest,
    ManifestMessage,
    OutputReport,
    PublishRequest,
    UploadCommit,
)


def publish(context: Context, region: RegionCode, request: PublishRequest) -> ArtifactAccepted:
    """Accept a checkpoint of a running attempt; the same manifest twice is one artifact.

    Raises:
        Conflict: `stale_fence`, the attempt is over or another one holds the fence now. Refused: its place became
            unlawful.
    """
    manifest = _manifest(request.manifest)
    if request.kind is not ArtifactKind.CHECKPOINT:
        raise Invalid("kind", "only checkpoints are published here; outputs come with the last report")
    with context.store.begin() as work:
        judge = Judge(context, work)
        locked = work.attempts.lock_reported(region, [AttemptId(request.attempt_id)])
        known = locked.get(AttemptId(request.attempt_id))
        if known is None or not _may_publish(known, request.fence):
            raise Conflict("stale_fence", "this attempt holds no live fence; its checkpoint is not taken")
        mine = work.contents.of_job(known.attempt.job, ArtifactKind.CHECKPOINT)
        for one in mine:
            if one.attempt == known.attempt.id and one.digest == manifest.digest and one.name == request.name:
                return ArtifactAccepted(artifact_id=one.id, digest=one.digest)
        judged = judge.locked(known.attempt)
        if not judged.allowed:
            raise Refused(Reason.FENCED, judged.message)
        judge.record()
        artifact = _store(
            work, known.attempt, ArtifactKind.CHECKPOINT, judged, name=request.name, manifest=manifest, now=judge.now
        )
    return ArtifactAccepted(artifact_id=artifact.id, digest=artifact.digest)


def _may_publish(known: LockedAttempt, fence: int) -> bool:
    is_running = known.attempt.state not in {AttemptState.PLACED, AttemptState.ENDED}
    return is_running and known.attempt.fence == fence and known.stop_reason is not Reason.FENCED


def store_outputs(
    work: UnitOfWork, attempt: Attempt, outputs: Sequence[OutputReport], judged: Judged, now: datetime
) -> str:
    """Turn the outputs of a succeeded attempt, which was judged lawful now, into artifacts, all or none.

    Returns the sentence that says why there are none, or an empty text: one attempt's fault must not keep a region's
    other reports from being stored.
    """
    declared = work.jobs.region_jobs([attempt.job])[attempt.job].spec.outputs
    try:
        found = {one.name: _manifest(one.manifest) for one in outputs}
    except Invalid as error:
        return f"an output cannot be kept: {error.message}"
    if missing := [name for name in declared if name not in found]:
        return f"the program ended well but left no output {', '.join(missing)} in NORDAN_OUTPUT_DIR"
    if illegal := [name for name in found if not is_name(name)]:
        return f"an output cannot be kept: {illegal[0]!r} is not a name"
    for name in sorted(found):
        _store(work, attempt, ArtifactKind.OUTPUT, judged, name=name, manifest=found[name], now=now)
    return ""


def commit_upload(context: Context, region: RegionCode, request: UploadCommit) -> ArtifactAccepted:
    """Turn an upload into an artifact that lies in this region; a repeated commit gets the same answer.

    Raises:
        NotFound: no such leave for this region. Conflict: it was used for other bytes, or has expired. Refused: the
            region became unlawful for these data since they were let in.
    """
    manifest = _manifest(request.manifest)
    with context.store.begin() as work:
        epoch = work.epoch.share()
        now = context.clock.now()
        upload = work.contents.lock_upload(region, UploadId(request.upload_id))
        if upload is None:
            raise NotFound("upload for this region", request.upload_id)
        if upload.artifact is not None:
            stored = work.contents.artifacts([upload.artifact])[upload.artifact]
            if stored.digest != manifest.digest:
                raise Conflict("upload_used", "this upload was committed with other bytes; ask for another")
            return ArtifactAccepted(artifact_id=stored.id, digest=stored.digest)
        if upload.expires_at <= now:
            raise Conflict("upload_expired", "the leave to upload has expired; ask for another")
        facts = context.facts_cache.within(work, epoch)
        of = _check_still_lawful(facts, work, upload, now)
        evidence = Evidence(facts, now)
        judged = [evidence.rest(of, upload.region, allowed=True)]
        evidence.record(work, context.logged)
        artifact = _known_bytes(work, upload, manifest) or _new_artifact(upload, manifest, now)
        if not artifact.regions:
            work.contents.add_artifact(artifact)
        work.contents.add_location(artifact.id, region, now)
        work.contents.finish_upload(upload.id, artifact.id)
        body: dict[str, object] = {
            "digest": artifact.digest,
            "region": region,
            "kind": artifact.kind.value,
            "upload": upload.id,
            "judged": judged,
        }
        by, owner = upload.created_by, upload.organisation
        work.audit.write(AuditEntry(Act.ARTIFACT_STORED, artifact.id, by, now, owner, body))
    return ArtifactAccepted(artifact_id=artifact.id, digest=artifact.digest)


def _new_artifact(upload: Upload, manifest: Manifest, now: datetime) -> Artifact:
    return Artifact(
        id=ArtifactId(new_id("art")),
        organisation=upload.organisation,
        project=upload.project,
        kind=upload.kind,
        name=upload.name,
        manifest=manifest,
        digest=manifest.digest,
        policy=upload.policy,
        created_at=now,
        dataset=upload.dataset,
    )


def copy_source(context: Context, region: RegionCode, request: CopySourceRequest) -> CopySource:
    """Tell a gateway whence it may fetch the bytes of a copy; judged anew each time it asks.

    Raises:
        NotFound: no such leave for this region. Conflict: it has expired. Refused: the target, or every place where
            the bytes lie, became unlawful. Unavailable: the region that holds them has not joined.
    """
    with context.store.begin() as work:
        epoch = work.epoch.share()
        now = context.clock.now()
        upload = work.contents.lock_upload(region, UploadId(request.upload_id))
        if upload is None or upload.copies is None:
            raise NotFound("copy for this region", request.upload_id)
        if upload.expires_at <= now:
            raise Conflict("upload_expired", "the leave to copy has expired; ask for another")
        facts = context.facts_cache.within(work, epoch)
        of = _check_still_lawful(facts, work, upload, now)
        artifact = _copied(work, upload)
        holding = readable_regions(work, artifact)
        source = where_lawful(facts, of, holding, now)
        end = rest(facts, (of,), source.code, now).good_until
    path, obj = f"/v1/manifests/{artifact.digest}", f"manifest:{artifact.digest}"
    way = Way(path, obj, "read", READ_S, about=f"artifact:{artifact.id}", ends=(end,))
    access = access_for(context, upload.created_by, source, way)
    return CopySource(url=access.url, token=access.token, manifest=ManifestMessage.of(artifact.manifest))


def _copied(work: UnitOfWork, upload: Upload) -> Artifact:
    """Return the artifact that an upload copies.

    Raises:
        Refused: it was fenced since leave was given.
    """
    assert upload.copies is not None
    artifact = work.contents.artifacts([upload.copies])[upload.copies]
    readable_regions(work, artifact)
    return artifact


def _check_still_lawful(facts: FactsBook, work: UnitOfWork, upload: Upload, now: datetime) -> Effective:
    of = _policy_at_rest(facts, work, upload, now)
    refusals = why_not_at_rest(facts, of, upload.region, now)
    if refusals is not None:
        raise Refused(Reason.FENCED, sentence(upload.region, refusals), {"refusals": documents(refusals)})
    return of


def _policy_at_rest(facts: FactsBook, work: UnitOfWork, upload: Upload, now: datetime) -> Effective:
    project = work.tenants.project(None, upload.project)
    assert project is not None, "projects are never deleted"
    # What is copied has a policy of its own, which may have tightened since leave was given.
    source = _copied(work, upload) if upload.copies is not None else None
    policy, dataset = (source.policy, source.dataset) if source is not None else (upload.policy, upload.dataset)
    of = effective_of_data(project, upload.name, dict(policy), facts.atlas)
    return at_rest(work, of, project.id, name=upload.name, dataset=dataset, atlas=facts.atlas, now=now)


def _known_bytes(work: UnitOfWork, upload: Upload, manifest: Manifest) -> Artifact | None:
    """Return the artifact that already stands for these bytes: another region then is only another location."""
    if upload.copies is not None:
        artifact = _copied(work, upload)
        if artifact.digest != manifest.digest:
            raise Conflict("copy_differs", "these are not the bytes of the artifact that was to be copied")
        return artifact
    if upload.kind is ArtifactKind.FILES:
        # Under another policy the same bytes are another artifact: each lies, and is read, where its own word allows.
        known = work.contents.files_with_digest(upload.project, manifest.digest)
        return next((one for one in known if dict(one.policy) == dict(upload.policy)), None)
    newest = work.contents.newest_version(upload.dataset) if upload.dataset is not None else None
    return newest if newest is not None and newest.digest == manifest.digest else None


def _store(
    work: UnitOfWork,
    attempt: Attempt,
    kind: ArtifactKind,
    judged: Judged,
    *,
    name: str,
    manifest: Manifest,
    now: datetime,
) -> Artifact:
    job = work.jobs.region_jobs([attempt.job])[attempt.job]
    parents = [one.id for _, one in work.contents.inputs_of([job.id]).get(job.id, [])]
    if attempt.resume_from is not None:
        parents.append(ArtifactId(attempt.resume_from))
    artifact = Artifact(
        id=ArtifactId(new_id("art")),
        organisation=job.organisation,
        project=job.project,
        kind=kind,
        name=name,
        manifest=manifest,
        digest=manifest.digest,
        policy=policy_document(output_policy(parse_effective(job.effective, judged.atlas))),
        created_at=now,
        parents=tuple(parents),
        job=job.id,
        attempt=attempt.id,
        regions=(attempt.region,),
    )
    work.contents.add_artifact(artifact)
    body: dict[str, object] = {
        "digest": artifact.digest,
        "region": attempt.region,
        "kind": kind.value,
        "attempt": attempt.id,
        "fence": attempt.fence,
        "parents": list(parents),
        "judged": [judged.document],
    }
    work.audit.write(AuditEntry(Act.ARTIFACT_STORED, job.id, f"region:{attempt.region}", now, job.organisation, body))
    return artifact


def _manifest(message: ManifestMessage) -> Manifest:
    try:
        return message.to_domain()
    except ValueError as error:
        raise Invalid("manifest", str(error)) from None
