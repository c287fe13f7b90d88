"""What another atlas would change for those who are here: policies, pools, live attempts, stored data.

Everything is judged twice by the same judge, under the atlas in force and under the other, as of now; what comes out
differently is told. Read without a lock and judged with no transaction open. Derogations are not counted in: an attempt
that is told as refused may go on by one that covers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from nordan_core.domain.fences import LivePresence, RestGroup
from nordan_core.domain.ids import ArtifactId, JobId, ProjectId
from nordan_core.domain.tenants import Project
from nordan_core.facts import FactsBook
from nordan_core.policies import PolicyShelf
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.facts import PoolFacts
from nordan_core.residency.judge import permits
from nordan_core.residency.places import Atlas
from nordan_core.residency.policy import parse_policy
from nordan_core.residency.presence import may_rest, may_run
from nordan_core.residency.verdicts import Verdict
from nordan_core.store.law_in_use import OpenJob, StatedData, StatedFloor
from nordan_core.store.unit_of_work import UnitOfWork

Json = dict[str, Any]  # Any: JSON
Documents = Mapping[str, Mapping[str, Any]]  # Any: JSON


@dataclass(frozen=True, slots=True)
class InUse:
    """All that is judged today, as it was read in one transaction."""

    organisations: tuple[StatedFloor, ...]
    projects: Mapping[ProjectId, Project]
    datasets: tuple[StatedData, ...]
    jobs: tuple[OpenJob, ...]
    live: tuple[LivePresence, ...]
    resting: Mapping[RestGroup, ArtifactId]
    job_policies: Documents
    data_policies: Documents
    derogations: Documents
    former: Documents
    """What artifacts would have again if their declassifications were taken back."""
    readers: Mapping[str, str]
    """The territory on record of each key that counts and has one."""


def read_in_use(work: UnitOfWork) -> InUse:
    """Return all that is judged today."""
    used, jobs, resting = work.law_in_use, work.law_in_use.jobs(), work.fencing.resting()
    by_key = {one.policy_key: one.id for one in jobs}
    return InUse(
        organisations=used.organisations(),
        projects=work.tenants.projects_by_id(set(used.projects())),
        datasets=used.datasets(),
        jobs=jobs,
        live=work.fencing.live(),
        resting=resting,
        job_policies=work.fencing.job_policies(list(by_key.values())),
        data_policies=work.fencing.data_policies({group.policy_key: one for group, one in resting.items()}.values()),
        derogations=used.derogations(),
        former=used.former(),
        readers=used.readers(),
    )


class Effects:
    """Compares two atlases over one reading."""

    def __init__(self, used: InUse, book: FactsBook, other: Atlas, now: datetime) -> None:
        self._used = used
        self._now = now
        self._sides = tuple(_Side(used, one, PolicyShelf(one.atlas)) for one in (book, replace(book, atlas=other)))
        self._keys = {one.id: one.policy_key for one in used.jobs}

    def document(self) -> Json:
        """Return all of it, each part with what changes only."""
        layers, policies = self._layers(), self._policies()
        attempts, data = self._attempts(), self._data()
        return {
            "layers": layers,
            "policies": policies,
            "pools": _pools((*layers, *policies), attempts),
            "attempts": attempts,
            "data": data,
        }

    def _layers(self) -> list[Json]:
        """Return the floors and owners' words whose own facets are met by other pools than before."""
        stated = [("organisation", one.name, "", one.floor) for one in self._used.organisations]
        stated += [("project", one.name, one.organisation_name, one.floor) for one in self._used.projects.values()]
        stated += [
            ("dataset", one.name, self._used.projects[one.project].name, one.policy) for one in self._used.datasets
        ]
        return [
            {"kind": kind, "name": name, "of": of, **moved}
            for kind, name, of, document in stated
            if (moved := self._moved(partial(_Side.permitted, document=document, now=self._now)))
        ]

    def _policies(self) -> list[Json]:
        """Return the effective policies of jobs that have not ended, each once for a project, with their jobs."""
        jobs: dict[tuple[str, ProjectId], list[JobId]] = {}
        for one in self._used.jobs:
            jobs.setdefault((one.policy_key, one.project), []).append(one.id)
        found = []
        for (key, project), names in jobs.items():
            moved = self._moved(partial(_Side.running, key=key, project=project, now=self._now))
            if moved:
                digest = str(self._used.job_policies[key]["digest"])
                found.append({"digest": digest, "project": self._used.projects[project].name, "jobs": names, **moved})
        return found

    def _attempts(self) -> list[Json]:
        """Return the live attempts that another word would be said of, on the pool where they are."""
        found = []
        for one in self._used.live:
            key = self._keys.get(one.job)
            if key is None:
                continue  # its job has ended, and so will it
            before, after = (side.run(key, one.project, one.pool, self._now) for side in self._sides)
            if before.allowed != after.allowed:
                about = {"attempt": one.attempt, "job": one.job, "pool": one.pool}
                about["project"] = self._used.projects[one.project].name
                found.append({**about, **_word(after)})
        return found

    def _data(self) -> list[Json]:
        """Return the stored data that another word would be said of, by policy, project and region."""
        found: dict[tuple[str, ProjectId, str], Json] = {}
        for group in self._used.resting:
            before, after = (side.rest(group, self._now) for side in self._sides)
            if before.allowed != after.allowed:
                about = {"project": self._used.projects[group.project].name, "region": group.region}
                found[group.policy_key, group.project, group.region] = {**about, **_word(after)}
        return list(found.values())

    def _moved(self, ask: Callable[[_Side], frozenset[str]]) -> Json:
        before, after = (ask(side) for side in self._sides)
        return {"refused": sorted(before - after), "allowed": sorted(after - before)} if before != after else {}


class _Side:
    """One of the two atlases, with everything read under it."""

    def __init__(self, used: InUse, book: FactsBook, shelf: PolicyShelf) -> None:
        self._used = used
        self._book = book
        self._shelf = shelf
        shelf.make_room(max(len(used.job_policies), len(used.data_policies)))
        shelf.learn_jobs(used.job_policies)
        shelf.learn_data(used.data_policies)
        self._runs: dict[tuple[str, ProjectId, str], Verdict] = {}

    def permitted(self, document: Mapping[str, Any], now: datetime) -> frozenset[str]:  # Any: JSON
        """Return the pools that meet the facets which a document states; none where it cannot be read."""
        try:
            policy = parse_policy(document, self._book.atlas)
        except PolicyError:
            return frozenset()
        return self._pools(lambda pool: permits(policy, pool, self._book.atlas, now))

    def running(self, key: str, project: ProjectId, now: datetime) -> frozenset[str]:
        """Return the pools where jobs under a policy may run."""
        return self._pools(lambda pool: self.run(key, project, pool.pool, now))

    def run(self, key: str, project: ProjectId, pool: str, now: datetime) -> Verdict:
        """Say whether jobs under a policy may run in a pool; asked once."""
        question = (key, project, pool)
        if question not in self._runs:
            book, policies = self._book, self._shelf.of_job(key, self._used.projects.get(project))
            self._runs[question] = may_run(policies, book.pool(pool), book.control_plane, book.atlas, now)
        return self._runs[question]

    def rest(self, group: RestGroup, now: datetime) -> Verdict:
        """Say whether data may stay in a region."""
        policies = self._shelf.of_data(group.policy_key, self._used.projects[group.project])
        pools = [one for one in self._book.pools if one.region == group.region]
        return may_rest(policies, pools, self._book.atlas, now)

    def _pools(self, ask: Callable[[PoolFacts], Verdict]) -> frozenset[str]:
        return frozenset(pool.pool for pool in self._book.pools if ask(pool).allowed)


def _word(said: Verdict) -> Json:
    refusals = [{"facet": one.facet, "want": one.want, "have": one.have} for one in said.refusals]
    return {"now": "allowed" if said.allowed else "refused", **({"refusals": refusals} if refusals else {})}


def _pools(policies: Iterable[Json], attempts: Iterable[Json]) -> list[Json]:
    """Return the pools that anything changes for, with how many policies and attempts."""
    found: dict[str, Json] = {}
    for one in policies:
        for word in ("refused", "allowed"):
            for pool in one[word]:
                about = found.setdefault(pool, {"pool": pool, "refused": 0, "allowed": 0, "attempts": 0})
                about[word] += 1
    for one in attempts:
        found.setdefault(one["pool"], {"pool": one["pool"], "refused": 0, "allowed": 0, "attempts": 0})["attempts"] += 1
    return [found[pool] for pool in sorted(found)]
