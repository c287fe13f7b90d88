"""Questions about data: everything made of them, everything that they were made from, where they may run and rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nordan_api.auth.callers import find_project
from nordan_api.context import Context
from nordan_api.derogating import at_rest
from nordan_api.jobs.policy import effective_of_data
from nordan_core.domain.artifacts import Artifact, Dataset
from nordan_core.domain.errors import NotFound
from nordan_core.domain.ids import ArtifactId
from nordan_core.domain.tenants import Principal, Project
from nordan_core.residency.judge import judge, judge_storage
from nordan_core.residency.layers import Effective
from nordan_core.residency.policy import parse_policy, policy_digest
from nordan_core.residency.verdicts import Verdict
from nordan_core.store.lineage import Kin
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON


def of_dataset(context: Context, principal: Principal, project_name: str, name: str) -> Json:
    """Return everything made of any version of a dataset; a dataset is made from nothing.

    Raises:
        NotFound: this caller has no such dataset.
    """
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        dataset = _dataset(work, project, name)
        versions = [one.id for one in work.contents.versions(dataset.id)]
        return _lineage(context, work, project, versions)


def of_artifact(context: Context, principal: Principal, project_name: str, artifact: str) -> Json:
    """Return everything made of an artifact, and everything that it was made from.

    Raises:
        NotFound: this caller has no such artifact.
    """
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        found = _artifact(work, project, artifact)
        return _lineage(context, work, project, [found.id])


def where_dataset(context: Context, principal: Principal, project_name: str, name: str) -> Json:
    """Return for each pool whether a job that reads a dataset may run there, and whether its bytes may rest there.

    Raises:
        NotFound: this caller has no such dataset.
    """
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        dataset = _dataset(work, project, name)
        policy, epoch = dict(dataset.policy), work.epoch.current()
        of = _of_data(context, work, project, name=name, policy=policy, dataset=dataset.id)
    return _where(context, of, epoch)


def where_artifact(context: Context, principal: Principal, project_name: str, artifact: str) -> Json:
    """Return the same of an artifact.

    Raises:
        NotFound: this caller has no such artifact.
    """
    with context.store.begin() as work:
        project = find_project(work, principal, project_name)
        found = _artifact(work, project, artifact)
        policy, epoch = dict(found.policy), work.epoch.current()
        of = _of_data(context, work, project, name=found.name, policy=policy, dataset=found.dataset)
    return _where(context, of, epoch)


def _dataset(work: UnitOfWork, project: Project, name: str) -> Dataset:
    found = work.contents.dataset(project.id, name)
    if found is None:
        raise NotFound("dataset", name)
    return found


def _artifact(work: UnitOfWork, project: Project, artifact: str) -> Artifact:
    found = work.contents.artifact(project.id, artifact)
    if found is None:
        raise NotFound("artifact", artifact)
    return found


def _of_data(
    context: Context, work: UnitOfWork, project: Project, *, name: str, policy: Json, dataset: str | None
) -> Effective:
    of, now = effective_of_data(project, name, policy, context.atlas), context.clock.now()
    return at_rest(work, of, project.id, name=name, dataset=dataset, atlas=context.atlas, now=now)


def _where(context: Context, of: Effective, epoch: int) -> Json:
    facts, now = context.facts(epoch), context.clock.now()
    items = [
        {
            "pool": pool.pool,
            "region": pool.region,
            "run": _verdict(judge(of, pool, facts.atlas, now)),
            "rest": _verdict(judge_storage(of, pool, facts.atlas, now)),
        }
        for pool in facts.pools
    ]
    return {"policy_digest": of.digest, "atlas": facts.atlas.version, "at": now.isoformat(), "items": items}


def _verdict(said: Verdict) -> Json:
    return {
        "allowed": said.allowed,
        "refusals": [
            {"facet": one.facet, "want": one.want, "have": one.have, "message": one.message} for one in said.refusals
        ],
        "good_until": said.good_until.isoformat() if said.good_until else None,
    }


def _lineage(context: Context, work: UnitOfWork, project: Project, roots: Sequence[ArtifactId]) -> Json:
    return {
        "derived": _lines(context, work, work.lineage.derived(project.id, roots)),
        "sources": [one for one in _lines(context, work, work.lineage.sources(project.id, roots)) if one["depth"]],
    }


def _lines(context: Context, work: UnitOfWork, kin: Sequence[Kin]) -> list[Json]:
    artifacts = work.contents.artifacts([one.artifact for one in kin])
    declassified = work.lineage.of_artifacts([one.artifact for one in kin])
    return [
        {
            **_line(context, artifacts[one.artifact]),
            "depth": one.depth,
            "declassifications": [
                {"id": each.id, "state": "revoked" if each.revoked_at else "approved", "digest": each.digest}
                for each in declassified.get(one.artifact, ())
            ],
        }
        for one in kin
        if one.artifact in artifacts
    ]


def _line(context: Context, artifact: Artifact) -> Json:
    return {
        "id": artifact.id,
        "kind": artifact.kind.value,
        "name": artifact.name,
        "dataset": artifact.dataset,
        "job": artifact.job,
        "regions": list(artifact.regions),
        "parents": list(artifact.parents),
        "policy_digest": policy_digest(parse_policy(artifact.policy, context.atlas)),
        "created_at": artifact.created_at.isoformat(),
    }
