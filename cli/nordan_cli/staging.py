"""Bring a job's files to the regions where it may run, before it is submitted; copy data between regions.

Called by `submit`, `dataset` and `artifact`. The plan says which regions those are; each gets the bytes through its
own gateway, so nothing reaches a region that the job's policy excludes.
"""

from __future__ import annotations

from nordan_cli import client, localfiles
from nordan_cli.client import Api
from nordan_cli.decode import decode
from nordan_cli.errors import Failed, Problem, Unreachable
from nordan_cli.gateway import Gateway
from nordan_cli.invocation import is_watched, note
from nordan_cli.jobs import Draft
from nordan_cli.localfiles import LocalFiles
from nordan_cli.models import Access, Artifact, Plan, Stored
from nordan_cli.progress import Transfer

#: Files go to this many regions at most; a job that leaves all of them has to be submitted again.
MAX_REGIONS = 4


def stage(api: Api, draft: Draft) -> tuple[str, ...]:
    """Send the draft's files to the cheapest regions that may run it; return those that took them.

    Raises:
        Failed: regions were allowed, and none of them took the files.
        Problem: the server refuses the job as a whole.
    """
    if not draft.files.files:
        return ()
    plan = decode(Plan, api.ask(api.within("jobs", verb="plan"), draft.document))
    if plan.never is not None and "max_wait" not in draft.document:
        return ()  # it will be refused; no byte has to travel for that
    regions = targets(plan)
    taken = [region for region in regions if _send(api, region, draft)]
    if regions and not taken:
        raise Failed("no region took the job's files; nothing was submitted")
    return tuple(taken)


def targets(plan: Plan) -> tuple[str, ...]:
    """Return the regions that get the files: allowed, holding the inputs, cheapest first."""
    lawful = [row for row in plan.regions if row.allowed]
    ready = [row for row in lawful if row.holds_inputs] or lawful
    ready.sort(key=lambda row: (not row.fits_now, row.price_eur_per_gpu_h or 0.0))
    return tuple(dict.fromkeys(row.region for row in ready))[:MAX_REGIONS]


def upload(api: Api, access: Access, files: LocalFiles, label: str) -> Stored:
    """Send files under one access token, showing how far it is when that takes long."""
    with (
        Gateway(api.run, access) as gateway,
        Transfer(label, files.size_bytes, clock=api.run.clock, is_watched=is_watched()) as transfer,
    ):
        return localfiles.send(gateway, access.upload_id, files, transfer.advance)


def copy(api: Api, artifact: Artifact, region: str) -> Stored:
    """Have a region fetch an artifact's bytes from another one, showing how far it is when that takes long.

    Raises:
        Problem: the policy does not let the bytes rest there, or the region could not fetch them.
    """
    access = decode(Access, api.ask(api.within("artifacts", artifact.id, verb="copy"), {"region": region}))
    label = f"{artifact.name or artifact.id} to {region}"
    with (
        Gateway(api.run, access) as gateway,
        Transfer(label, artifact.size_bytes or 0, clock=api.run.clock, is_watched=is_watched()) as transfer,
        client.reported(),
    ):
        return gateway.pull(access.upload_id, transfer.advance)


def _send(api: Api, region: str, draft: Draft) -> bool:
    try:
        answer = api.ask(api.within("files", verb="put"), {"region": region, "job": draft.document})
        upload(api, decode(Access, answer), draft.files, f"files to {region}")
    except (Unreachable, Problem) as error:
        note(f"warning: {region} did not take the job's files, so it cannot run there: {error}")
        return False
    return True
