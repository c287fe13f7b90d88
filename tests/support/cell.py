"""A small cell in a real database: a world, a tenant, jobs, and what regions do, by the repositories."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from nordan_core.atlas.loader import default_atlas
from nordan_core.clock import Clock, SystemClock
from nordan_core.domain.attempts import Ending
from nordan_core.domain.ids import GrantId, JobId, OrganisationId, ProjectId, RegionCode
from nordan_core.domain.jobs import Job, JobKind, JobSpec, Resources
from nordan_core.domain.places import NodeReport
from nordan_core.domain.states import AttemptResult, JobState
from nordan_core.domain.tenants import Organisation, Project
from nordan_core.identifiers import new_id
from nordan_core.proof.keys import SigningKey
from nordan_core.proof.tokens import GrantClaims, mint_grant
from nordan_core.residency.effective_text import effective_document
from nordan_core.residency.layers import Effective, Layer, LayerKind, effective
from nordan_core.residency.policy import parse_policy
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.nodes import Reported
from nordan_core.store.unit_of_work import Store
from nordan_core.world import (
    ControlPlaneDocument,
    EntityDocument,
    PoolDocument,
    RegionDocument,
    parse_world,
)

GRANT_KEY = SigningKey.create()
FLOOR: dict[str, object] = {"residency": ["EU"], "class": "internal"}
FR, SE = RegionCode("fr-bru-1"), RegionCode("se-bor-1")
_WORLD: list[Mapping[str, Any]] = [
    {"kind": "Entity", "name": "auvergne-calcul", "seat": "FR", "presences": [], "owners": []},
    {"kind": "ControlPlane", "territory": "FR", "operator": "auvergne-calcul"},
    {"kind": "Region", "name": FR, "territory": "FR", "operator": "auvergne-calcul", "access_territories": ["FR"]},
    {"kind": "Region", "name": SE, "territory": "SE", "operator": "auvergne-calcul", "access_territories": ["SE"]},
]


@dataclass(frozen=True, slots=True)
class Cell:
    """Writes what api and regions would write."""

    store: Store
    engine: Engine
    clock: Clock
    organisation: OrganisationId
    project: ProjectId

    @classmethod
    def create(cls, engine: Engine, *, clock: Clock | None = None, with_pools: bool = True) -> Cell:
        """Apply the world: two regions that were just heard of, one pool with two 8-GPU nodes each."""
        store = Store(engine)
        cell = cls(store, engine, clock or SystemClock(), OrganisationId(new_id("org")), ProjectId(new_id("prj")))
        cell.apply(_WORLD)
        cell.add_tenant(cell.organisation, cell.project, "acme")
        if with_pools:
            cell.add_pool("fr-h100", FR)
            cell.add_pool("se-h100", SE, price="3.00")
        cell.regions_speak()
        return cell

    def apply(self, documents: list[Mapping[str, Any]]) -> None:
        """Apply world documents."""
        now = self.clock.now()
        with self.store.begin() as work:
            work.epoch.step()
            for document in parse_world(documents):
                match document:
                    case EntityDocument():
                        work.places.put_entity(document, now)
                    case ControlPlaneDocument():
                        work.places.put_cell(document, now)
                    case RegionDocument():
                        work.places.put_region(document, now)
                    case PoolDocument():
                        work.places.put_pool(document, now)

    def add_pool(self, name: str, region: str, *, nodes: int | None = 2, price: str = "2.50", **more: object) -> None:
        """Apply a pool of 8-GPU nodes."""
        document = {
            "kind": "Pool",
            "name": name,
            "region": region,
            "provider": "auvergne-calcul",
            "accelerator": "H100",
            "gpu_memory_mib": 81_920,
            "nodes": nodes,
            "gpus_per_node": 8,
            "cpus": 96,
            "memory_mib": 1 << 20,
            "price_eur_per_gpu_h": price,
            "enforces": ["egress", "isolation"],
            "facts_valid_until": "2035-12-31",
            **more,
        }
        self.apply([document])

    def add_cluster(self, code: str, pool: str) -> None:
        """Apply a region of the Kubernetes executor with one pool of 8-GPU nodes, and let it be heard of."""
        region = {"kind": "Region", "name": code, "territory": "FR", "operator": "auvergne-calcul"}
        self.apply([{**region, "access_territories": ["FR"], "executor": "kubernetes"}])
        self.add_pool(pool, code, nodes=None)
        self.regions_speak()

    def report(self, region: str, *nodes: NodeReport, age_s: float = 0.0) -> Reported:
        """Let a cluster say which nodes it has, as of so long ago."""
        with self.store.begin() as work:
            return work.nodes.report(RegionCode(region), nodes, self.clock.now() - timedelta(seconds=age_s))

    def add_tenant(self, organisation: OrganisationId, project: ProjectId, name: str) -> None:
        """Add an organisation with one project."""
        now = self.clock.now()
        with self.store.begin() as work:
            work.tenants.add_organisation(Organisation(organisation, name, {}, now))
            work.tenants.add_project(Project(project, organisation, name, "default", FLOOR, {}, now))

    def regions_speak(self) -> None:
        """Let every region be heard of, for as long as any test may take."""
        with self.store.begin() as work:
            for region in work.places.regions():
                work.places.seen(region.code, "sup", self.clock.now() + timedelta(hours=1))

    def submit(
        self,
        count: int = 1,
        *,
        gpus: int = 1,
        cpus: int | None = None,
        nodes: int = 1,
        policy: Mapping[str, object] | None = None,
        organisation: OrganisationId | None = None,
        project: ProjectId | None = None,
        inputs: Mapping[str, str] | None = None,
        wait_until: datetime | None = None,
        **more: Any,  # Any: fields of JobSpec
    ) -> list[JobId]:
        """Submit equal jobs in one transaction and return their ids."""
        resources = Resources(gpus) if cpus is None else Resources(gpus, cpus=cpus)
        spec = JobSpec("job", JobKind.BATCH, ("true",), resources, nodes=nodes, policy=policy or {}, **more)
        of = an_effective(policy or {}, has_content=bool(inputs))
        ids = []
        with self.store.begin() as work:
            for _ in range(count):
                job = self._job(spec, of, organisation or self.organisation, project or self.project)
                work.jobs.add(
                    job, policy_digest=of.digest, klass=of.class_.word, inputs=inputs or {}, wait_until=wait_until
                )
                body: dict[str, object] = {"policy_digest": of.digest}
                work.audit.write(AuditEntry(Act.JOB_ACCEPTED, job.id, "key", job.created_at, job.organisation, body))
                ids.append(job.id)
        return ids

    def job(self, job: JobId) -> Job:
        """Return a job."""
        with self.store.begin() as work:
            return work.jobs.region_jobs([job])[job]

    def grants(self) -> list[tuple[GrantId, RegionCode]]:
        """Return grants that wait for redemption."""
        rows = self.rows("select id, region from attempt_grant where state = 'issued' order by id")
        return [(GrantId(row[0]), RegionCode(row[1])) for row in rows]

    def redeem(self, grant: GrantId, region: RegionCode) -> None:
        """Redeem a grant as the api does; the word said at apply stands."""
        now, redemption = self.clock.now(), secrets.token_hex(16)
        with self.store.begin() as work:
            found = work.attempts.lock_grants(region, [grant])[grant]
            attempt = found.attempt
            organisation = work.jobs.region_jobs([attempt.job])[attempt.job].organisation
            said: dict[str, Any] = {**attempt.verdicts["apply"], "at": now.isoformat()}  # type: ignore[dict-item]
            [policy] = work.scheduling.effective([attempt.job])
            claims = GrantClaims(
                grant_id=grant,
                attempt_id=attempt.id,
                job_id=attempt.job,
                region=region,
                pool=attempt.pool,
                nodes=tuple(rank.node for rank in attempt.ranks),
                fence=attempt.fence,
                redemption_id=redemption,
                issued_at=now,
                expires_at=now + timedelta(seconds=found.ttl_s),
                policy_digest=policy,
                epoch=said["epoch"],
            )
            said["grant"] = mint_grant(claims, GRANT_KEY)
            work.attempts.mark_redeemed([(found, redemption, said)], "sup", now)
            body = {"attempt": attempt.id, "fence": attempt.fence, "region": region, "pool": attempt.pool}
            body |= {
                "policy_digest": policy,
                "verdict": {name: said[name] for name in ("epoch", "atlas", "facts_version")},
            }
            work.audit.write(AuditEntry(Act.GRANT_REDEEMED, attempt.job, f"region:{region}", now, organisation, body))

    def end(self, job: JobId, result: AttemptResult = AttemptResult.SUCCEEDED, **more: Any) -> None:  # Any: of Ending
        """End a job's live attempt."""
        with self.store.begin() as work:
            live = work.attempts.of_job(job)[-1]
            work.attempts.close(
                [Ending(live.id, result, more.pop("reason", None), **more)], self.clock.now(), actor="sup"
            )

    def age_grants(self, seconds: float) -> None:
        """Make every grant so much older."""
        past = timedelta(seconds=seconds)
        self.run(
            "update attempt_grant set created_at = created_at - :past, alive_until = alive_until - :past", past=past
        )

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:  # Any: columns
        """Run a query."""
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def run(self, statement: str, **values: Any) -> None:  # Any: columns
        """Run a statement."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def free_gpus(self) -> int:
        """Return how many GPUs nobody holds."""
        return sum(mask.bit_count() for (mask,) in self.rows("select free_mask from node"))

    def _job(self, spec: JobSpec, of: Effective, organisation: OrganisationId, project: ProjectId) -> Job:
        return Job(
            id=JobId(new_id("job")),
            organisation=organisation,
            project=project,
            spec=spec,
            effective=effective_document(of),
            state=JobState.QUEUED,
            reason=None,
            message="",
            created_at=self.clock.now(),
            version=1,
            submitted_by="key",
        )


def an_effective(policy: Mapping[str, object], *, has_content: bool = False) -> Effective:
    """Return the effective policy of a job in a project with the template's floor."""
    atlas = default_atlas()
    layers = [
        Layer(LayerKind.PROJECT, "default", parse_policy(FLOOR, atlas)),
        Layer(LayerKind.JOB, "job", parse_policy(policy, atlas)),
    ]
    return effective(layers, has_content=has_content)


def lead(store: Store) -> int:
    """Win the lead and return the epoch."""
    with store.begin() as work:
        epoch = work.leadership.campaign("test", 60.0)
    assert epoch is not None
    return epoch


def state_of(cell: Cell, job: JobId) -> JobState:
    """Return a job's state."""
    return cell.job(job).state
