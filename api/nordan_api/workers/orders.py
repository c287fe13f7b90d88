"""Build launch orders: the spec of a job with its inputs pinned, for the one region that redeemed its grant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nordan_core.domain.artifacts import Artifact
from nordan_core.domain.attempts import RedeemableGrant
from nordan_core.domain.jobs import Job
from nordan_core.domain.places import Pool
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import InputOrder, LaunchOrder, ManifestMessage, RankOrder

_FILES_INPUT = ".files"


@dataclass(frozen=True, slots=True)
class Orders:
    """What launch orders are built from, loaded once for a whole batch."""

    inputs: Mapping[str, list[tuple[str, Artifact]]]
    checkpoints: Mapping[str, Artifact]
    pools: Mapping[str, Pool]

    @classmethod
    def load(cls, work: UnitOfWork, jobs: Sequence[Job], grants: Sequence[RedeemableGrant]) -> Orders:
        """Load the inputs and checkpoints of a batch."""
        needing = [job.id for job in jobs if job.spec.inputs or job.spec.files.files]
        resumed = [one.attempt.resume_from for one in grants if one.attempt.resume_from is not None]
        return cls(
            inputs=work.contents.inputs_of(needing),
            checkpoints=work.contents.artifacts(resumed),
            pools={pool.name: pool for pool in work.places.pools()} if grants else {},
        )

    def build(self, job: Job, grant: RedeemableGrant, ttl_s: float) -> LaunchOrder:
        """Return the order for one attempt, which may live `ttl_s` from now without a renewal."""
        spec, attempt, pool = job.spec, grant.attempt, self.pools[grant.attempt.pool]
        resumed = self.checkpoints.get(attempt.resume_from) if attempt.resume_from else None
        beside = self._beside(pool)
        return LaunchOrder(
            attempt_id=attempt.id,
            job_id=job.id,
            grant_id=grant.id,
            number=attempt.number,
            fence=attempt.fence,
            kind=spec.kind,
            organisation_handle=job.organisation,
            pool=attempt.pool,
            # As its certificate will say.
            has_made_up_gpus=attempt.at_apply("has_made_up_gpus", pool.has_made_up_gpus),
            accelerator=pool.accelerator,
            gpu_memory_mib=pool.gpu_memory_mib,
            is_only_real_pool=not beside and not pool.has_made_up_gpus,
            rival_memories_mib=_memories_of(beside, pool.accelerator),
            command=spec.command,
            env=dict(spec.env),
            image=spec.image,
            ranks=tuple(RankOrder(rank=one.rank, node=one.node, gpu_indices=one.gpu_indices) for one in attempt.ranks),
            gpus_per_rank=spec.resources.gpus,
            cpus=spec.resources.cpus,
            memory_mib=spec.resources.memory_mib,
            files=ManifestMessage.of(spec.files),
            inputs=tuple(
                InputOrder(name=name, artifact_id=one.id, manifest=ManifestMessage.of(one.manifest))
                for name, one in self.inputs.get(job.id, [])
                if name != _FILES_INPUT
            ),
            outputs=spec.outputs,
            resume_from=ManifestMessage.of(resumed.manifest) if resumed else None,
            ttl_s=ttl_s,
            max_duration_s=spec.max_duration_s,
            grace_s=spec.grace_s,
            port=spec.port,
            readiness_path=spec.readiness_path,
            klass=_class_word(job),
        )

    def _beside(self, pool: Pool) -> tuple[Pool, ...]:
        """Return the other pools of its region with real GPUs; made-up ones are in nobody's way."""
        if pool.has_made_up_gpus:
            return ()
        region = (one for one in self.pools.values() if one.region == pool.region and one.name != pool.name)
        return tuple(one for one in region if not one.has_made_up_gpus)


def _class_word(job: Job) -> str:
    policy = job.effective["policy"]
    return str(policy.get("class", "confidential")) if isinstance(policy, Mapping) else "confidential"


def _memories_of(pools: Sequence[Pool], model: str) -> tuple[int, ...]:
    return tuple(sorted({one.gpu_memory_mib for one in pools if one.accelerator.lower() == model.lower()}))
