"""Leave to put bytes that would not be given any more: asked for again with each sync, until it is used or has ended.

The region is told which uploads it may not take bytes for; its gateway refuses them and breaks off what is coming in.
What came in before is not committed: that is judged again by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from nordan_api.resting import why_not_at_rest
from nordan_api.workers.verdicts import Judge
from nordan_core.domain.ids import RegionCode
from nordan_core.domain.tenants import Project
from nordan_core.residency.derogations import Covering
from nordan_core.residency.widening import derogated
from nordan_core.store.readings import Putting
from nordan_core.store.unit_of_work import UnitOfWork


def closed_to_puts(work: UnitOfWork, judge: Judge, region: RegionCode) -> Iterator[str]:
    """Yield the uploads for which a region must not take bytes any more."""
    found = work.readings.puts_in(region, judge.now)
    if not found:
        return
    shelf = judge.shelf()
    shelf.make_room(len(found))
    data = {one.policy_key: one.uploads[0] for one in found}
    if unknown := shelf.unknown_data(data):
        shelf.learn_data(work.readings.upload_policies([data[key] for key in unknown]))
    projects = work.tenants.projects_by_id({one.project for one in found})
    said: dict[tuple[object, ...], bool] = {}
    for one in found:
        covered = judge.derogations.at_rest(one.project, one.dataset)
        question = (one.policy_key, one.project, covered)
        if not one.is_gone and question not in said:
            said[question] = _may_rest(judge, one, projects[one.project], covered, region)
        if one.is_gone or not said[question]:
            yield from one.objs


def _may_rest(judge: Judge, one: Putting, project: Project, covered: tuple[Covering, ...], region: RegionCode) -> bool:
    policies = [derogated(of, covered) for of in judge.shelf().of_data(one.policy_key, project)]
    return bool(policies) and all(why_not_at_rest(judge.book(), of, region, judge.now) is None for of in policies)
