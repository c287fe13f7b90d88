"""Leave to read that would not be given any more: each pass that may be about is asked for again, with each sync.

Passes to logs, artifacts and services live for minutes, and the law may narrow `access`, or a place become unlawful,
before they end. The region is told which reader may not go on with what; its gateway refuses that pass and breaks off
what is being read. While a region cannot be told, a pass ends with its own life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from nordan_api.access import CALL_S, READ_S
from nordan_api.resting import why_not_at_rest
from nordan_api.workers.verdicts import Judge
from nordan_core.domain.ids import RegionCode
from nordan_core.domain.tenants import Project
from nordan_core.policies import PolicyShelf, Standing
from nordan_core.proof.tokens import reader_of
from nordan_core.residency.derogations import Covering
from nordan_core.residency.judge import judge_reader
from nordan_core.residency.widening import derogated
from nordan_core.store.readings import Reading
from nordan_core.store.unit_of_work import UnitOfWork


def closed_to_readers(work: UnitOfWork, judge: Judge, region: RegionCode, closed: frozenset[str]) -> Iterator[str]:
    """Yield what a region must not let its readers at any more, each for the one who was let at it.

    What is `closed` to everybody is left out.
    """
    found = work.readings.open_in(
        region,
        judge.now,
        read_since=judge.now - timedelta(seconds=READ_S),
        call_since=judge.now - timedelta(seconds=CALL_S),
    )
    found = [one for one in found if one.obj not in closed]
    if not found:
        return
    _learn(work, judge.shelf(), found)
    projects = work.tenants.projects_by_id({one.project for one in found})
    said: dict[tuple[object, ...], bool] = {}
    for one in found:
        covered = _covered(judge, one)
        question = (one.policy_key, one.job is None, one.project, one.territory, covered)
        if question not in said:
            said[question] = _is_allowed(judge, one, projects[one.project], covered, region)
        if one.is_gone or not said[question]:
            yield reader_of(one.obj, one.reader)


def _learn(work: UnitOfWork, shelf: PolicyShelf, found: Sequence[Reading]) -> None:
    shelf.make_room(len(found))
    jobs = {one.policy_key: one.job for one in found if one.job is not None}
    if unknown := shelf.unknown_jobs(jobs):
        shelf.learn_jobs(work.fencing.job_policies([jobs[key] for key in unknown]))
    data = {one.policy_key: one.artifact for one in found if one.artifact is not None}
    if unknown := shelf.unknown_data(data):
        shelf.learn_data(work.fencing.data_policies([data[key] for key in unknown]))


def _covered(judge: Judge, one: Reading) -> tuple[Covering, ...]:
    if one.job is not None:
        return judge.derogations.lasting(one.project, one.job)
    return judge.derogations.at_rest(one.project, one.dataset)


def _is_allowed(
    judge: Judge, one: Reading, project: Project, covered: tuple[Covering, ...], region: RegionCode
) -> bool:
    shelf = judge.shelf()
    stated: Standing = (
        shelf.of_data(one.policy_key, project) if one.job is None else shelf.of_job(one.policy_key, project)
    )
    policies = [derogated(of, covered) for of in stated]
    return bool(policies) and all(
        judge_reader(of, one.territory, judge.atlas, judge.now).allowed
        and why_not_at_rest(judge.book(), of, region, judge.now) is None
        for of in policies
    )
