"""Datasets and artifacts. Bytes never come here: a client is given leave to talk to a region's gateway."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nordan_api.access import PUT_S, READ_S, Way, grant_access
from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.derogating import at_rest
from nordan_api.evidence import Evidence
from nordan_api.jobs.inputs import resolve_inputs
from nordan_api.jobs.policy import check_described_here, effective_of_data, effective_of_job, read_policy
from nordan_api.readers import check_reader
from nordan_api.resting import documents, readable_regions, rest, sentence, where_lawful
from nordan_core.documents import parse_job
from nordan_core.domain.artifacts import Artifact, Dataset, Upload
from nordan_core.domain.contents import ArtifactKind
from nordan_core.domain.errors import Conflict, Invalid, NotFound, Refused
from nordan_core.domain.ids import ArtifactId, RegionCode, UploadId, is_name
from nordan_core.domain.reasons import Reason
from nordan_core.domain.tenants import Principal, Project
from nordan_core.identifiers import new_id
from nordan_core.residency.layers import Effective, output_policy
from nordan_core.residency.policy import policy_document
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import Access

Json = dict[str, Any]  # Any: JSON
#: Of one project. Each sync of a region asks anew about all leave that is open in it, so nobody may have any number.
MOST_OPEN_PUTS = 1_000


@dataclass(frozen=True, slots=True)
class _Put:
    """What somebody wants to put where."""

    region: RegionCode
    kind: ArtifactKind
    name: str
    policy: Json
    dataset: str | None = None
    copies: ArtifactId | None = None


def create(context: Context, principal: Principal, project_name: str, name: object, policy: Json) -> Dataset:
    """Name a dataset and state its policy; the policy is the data owner's word and stands above every job.

    Raises:
        Invalid: a bad name or policy. Conflict: the name is taken with another policy. Refused: the control plane
            itself is outside the policy's `describe`.
    """
    if not isinstance(name, str) or not is_name(name):
        raise Invalid("name", f"{name!r} is not a name; use a-z, 0-9 and '-', at most 63 characters")
    now = context.clock.now()
    stated = policy_document(read_policy(policy, "policy", context.atlas))
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        epoch = work.epoch.current()
    of = effective_of_data(project, name, stated, context.atlas)
    facts = context.facts(epoch)
    check_described_here(of, facts, now)
    evidence = Evidence(facts, now)
    judged = [evidence.describe(of, allowed=True)]
    evidence.record_first(context)
    with context.store.begin() as work:
        # First in the lock order; twins come one after the other.
        work.epoch.hold()
        known = work.contents.dataset(project.id, name)
        if known is not None and dict(known.policy) == stated:
            return known
        if known is not None:
            raise Conflict("dataset_exists", f"dataset {name} exists with another policy")
        dataset = Dataset(new_id("dts"), project.id, name, stated, now)
        work.contents.add_dataset(dataset)
        work.policy_versions.note(dataset.id, stated, author=principal.key, at=now)
        work.epoch.step()
        body: dict[str, object] = {"policy_digest": of.digest, "judged": judged}
        work.audit.write(AuditEntry(Act.POLICY_CHANGED, dataset.id, principal.key, now, project.organisation, body))
    return dataset


def find_dataset(context: Context, principal: Principal, project: str, name: str) -> tuple[Dataset, list[Artifact]]:
    """Return a dataset and its versions, newest first.

    Raises:
        NotFound: this caller has no such dataset.
    """
    with context.store.begin() as work:
        owner = find_project(work, principal, project)
        dataset = work.contents.dataset(owner.id, name)
        if dataset is None:
            raise NotFound("dataset", name)
        return dataset, work.contents.versions(dataset.id)


def list_datasets(context: Context, principal: Principal, project: str) -> list[tuple[Dataset, list[Artifact]]]:
    """Return a project's datasets with their versions."""
    with context.store.begin() as work:
        owner = find_project(work, principal, project)
        return [(one, work.contents.versions(one.id)) for one in work.contents.datasets(owner.id)]


def allow_dataset_put(context: Context, principal: Principal, project_name: str, name: str, region: object) -> Access:
    """Give leave to put a new version's bytes into one region, if the policy allows it to rest there."""
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        dataset = work.contents.dataset(project.id, name)
        if dataset is None:
            raise NotFound("dataset", name)
        of = _of_data(context, work, project, name=name, policy=dict(dataset.policy), dataset=dataset.id)
    what = _Put(_code(region), ArtifactKind.DATASET, name, dict(dataset.policy), dataset.id)
    return _allow_put(context, principal, project, of, what)


def allow_files_put(context: Context, principal: Principal, project_name: str, region: object, job: Json) -> Access:
    """Give leave to put a job's files into one region; they are judged by the policy of that job."""
    spec = parse_job(job)
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        inputs = resolve_inputs(work, project.id, spec)
        of = effective_of_job(project, spec, inputs, context.atlas)
        now = context.clock.now()
        # They come from no dataset: a derogation for one would have to tell its word from those of the others.
        widened = at_rest(work, of, project.id, name=spec.name, dataset=None, atlas=context.atlas, now=now)
    # Files may carry what the data taught: they are kept under what an output of the job would be.
    policy = policy_document(output_policy(of))
    return _allow_put(context, principal, project, widened, _Put(_code(region), ArtifactKind.FILES, spec.name, policy))


def allow_copy(context: Context, principal: Principal, project_name: str, artifact: str, region: object) -> Access:
    """Give leave to bring an artifact's bytes from where they lie into one more region.

    The target's gateway fetches them; they pass neither here nor where the caller sits.

    Raises:
        Conflict: they are there already. Refused: the policy does not let them rest there, or they are fenced.
    """
    found = find_artifact(context, principal, project_name, artifact)
    target = _code(region)
    policy = dict(found.policy)
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        readable_regions(work, found)
        of = _of_data(context, work, project, name=found.name, policy=policy, dataset=found.dataset)
    if target in found.regions:
        raise Conflict("already_there", f"{target} holds the bytes of {found.id} already")
    what = _Put(target, found.kind, found.name, policy, found.dataset, copies=found.id)
    return _allow_put(context, principal, project, of, what)


def _of_data(
    context: Context, work: UnitOfWork, project: Project, *, name: str, policy: Json, dataset: str | None
) -> Effective:
    of = effective_of_data(project, name, policy, context.atlas)
    now = context.clock.now()
    return at_rest(work, of, project.id, name=name, dataset=dataset, atlas=context.atlas, now=now)


def _allow_put(context: Context, principal: Principal, project: Project, of: Effective, what: _Put) -> Access:
    now = context.clock.now()
    upload = Upload(
        id=UploadId(new_id("upl")),
        organisation=project.organisation,
        project=project.id,
        region=what.region,
        kind=what.kind,
        name=what.name,
        policy=what.policy,
        created_by=principal.key,
        created_at=now,
        expires_at=now + timedelta(seconds=PUT_S),
        dataset=what.dataset,
        copies=what.copies,
    )
    with context.store.begin() as work:
        epoch = work.epoch.current()
        region = work.places.region(upload.region)
    if region is None:
        raise NotFound("region", upload.region)
    # Names and digests of the files come here at the commit.
    facts = context.facts(epoch)
    check_described_here(of, facts, now)
    verdict = rest(facts, (of,), upload.region, now)
    evidence = Evidence(facts, now)
    body = {**_body(of, upload), "judged": [evidence.rest(of, upload.region, allowed=verdict.allowed)]}
    evidence.record_first(context)
    if not verdict.allowed:
        _note_refusal(context, principal, upload, body)
        refusals = {"refusals": documents(verdict.refusals)}
        raise Refused(Reason.REJECTED_BY_POLICY, sentence(upload.region, verdict.refusals), refusals)
    way = Way("", f"upload:{upload.id}", "put", PUT_S, ends=(verdict.good_until,))
    access = grant_access(context, principal, region, way)
    with context.store.begin() as work:
        _check_room(work, project, now)
        work.contents.add_upload(upload)
        allowed = Act.COPY_ALLOWED if upload.copies else Act.UPLOAD_ALLOWED
        work.audit.write(AuditEntry(allowed, upload.id, principal.key, now, upload.organisation, body))
    return access.model_copy(update={"upload_id": upload.id})


def _check_room(work: UnitOfWork, project: Project, now: datetime) -> None:
    """Refuse what would be one too many. Two that ask at once may both be let through; it is no exact number."""
    if work.contents.open_uploads(project.id, now) >= MOST_OPEN_PUTS:
        raise Conflict(
            "too_many_uploads",
            f"{MOST_OPEN_PUTS} uploads and copies of this project are open; finish some, or wait for their hour to end",
        )


def _note_refusal(context: Context, principal: Principal, upload: Upload, body: Json) -> None:
    act = Act.COPY_REFUSED if upload.copies else Act.UPLOAD_REFUSED
    with context.store.begin() as work:
        work.audit.write(AuditEntry(act, upload.id, principal.key, upload.created_at, upload.organisation, body))


def _body(of: Effective, upload: Upload) -> dict[str, object]:
    copied: dict[str, object] = {"artifact": upload.copies} if upload.copies else {}
    return {"region": upload.region, "policy_digest": of.digest, **copied}


def _code(region: object) -> RegionCode:
    if not isinstance(region, str) or not region:
        raise Invalid("region", "name the region to put the bytes into; `nordan regions` shows them")
    return RegionCode(region)


def find_artifact(context: Context, principal: Principal, project: str, artifact: str) -> Artifact:
    """Return an artifact of a project.

    Raises:
        NotFound: this caller has no such artifact.
    """
    with context.store.begin() as work:
        owner = find_project(work, principal, project)
        found = work.contents.artifact(owner.id, ArtifactId(artifact))
    if found is None:
        raise NotFound("artifact", artifact)
    return found


def allow_read(context: Context, principal: Principal, project_name: str, artifact: str) -> Access:
    """Give leave to read an artifact from a region that holds it, if the reader may.

    Raises:
        Refused: the reader sits where `access` does not allow, or no place where the bytes lie is lawful any more.
    """
    found = find_artifact(context, principal, project_name, artifact)
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        epoch = work.epoch.current()
        holding = readable_regions(work, found)
        of = _of_data(context, work, project, name=found.name, policy=dict(found.policy), dataset=found.dataset)
    reader_end = check_reader(context, principal, [of], subject=found.id)
    now, facts = context.clock.now(), context.facts(epoch)
    region = where_lawful(facts, of, holding, now)
    way = Way(
        f"/v1/manifests/{found.digest}",
        f"manifest:{found.digest}",
        "read",
        READ_S,
        about=f"artifact:{found.id}",
        ends=(reader_end, rest(facts, (of,), region.code, now).good_until),
    )
    return grant_access(context, principal, region, way)
