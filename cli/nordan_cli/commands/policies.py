"""`nordan policy`: read, compare and try policies. Everything happens on this machine; no server is asked.

For whoever writes a policy or has to answer for one. The judge is the one that the control plane uses.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import invocation, lawfiles, policytables, render
from nordan_cli.render import Format, Output
from nordan_core.residency.compare import Direction, compare
from nordan_core.residency.lint import Severity, lint
from nordan_core.residency.trial import try_policy
from nordan_core.world_facts import control_plane_facts, pool_facts

app = typer.Typer(
    help="Lint, explain, compare and try policies, without a server.", no_args_is_help=True, rich_markup_mode=None
)

REFUSED = 1
File = Annotated[Path, typer.Argument(metavar="FILE", help="A policy, as YAML or JSON.")]
AtlasFile = Annotated[Path | None, typer.Option("--atlas", metavar="FILE", help="Atlas; the packaged one if unsaid.")]
At = Annotated[str | None, typer.Option("--at", metavar="INSTANT", help="Judge as of then: 2027-01-01 or an instant.")]
World = Annotated[Path, typer.Option("--world", metavar="FILE", help="World documents, as nordan admin apply takes.")]


@app.command("lint")
def lint_(
    ctx: typer.Context,
    file: File,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    atlas_file: AtlasFile = None,
    at: At = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what a careful reader would remark about a policy.

    Exits with 1 when something is an error, with 2 when the file is no policy.
    """
    atlas, instant = lawfiles.read_atlas(atlas_file), _instant(ctx, at)
    remarks = lint(lawfiles.read_policy(file, atlas), atlas, instant)
    render.show(policytables.lint_answer(remarks), output, lambda: policytables.lint_text(remarks))
    grave = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    if any(remark.severity in grave for remark in remarks):
        raise typer.Exit(REFUSED)


@app.command("explain")
def explain(
    ctx: typer.Context, file: File, *, atlas_file: AtlasFile = None, at: At = None, output: Output = Format.TABLE
) -> None:
    """Say what each facet of a policy asks, and which places it means today."""
    atlas, instant = lawfiles.read_atlas(atlas_file), _instant(ctx, at)
    policy = lawfiles.read_policy(file, atlas)
    answer = policytables.explain_answer(policy, atlas, instant)
    render.show(answer, output, lambda: policytables.explain_text(policy, atlas, instant))


@app.command("diff")
def diff(
    ctx: typer.Context,
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The policy as it was.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The policy as it shall be.")],
    *,
    atlas_file: AtlasFile = None,
    at: At = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what got tighter and what got wider between two policies.

    Exits with 0 when nothing got wider, else with 1.
    """
    atlas, instant = lawfiles.read_atlas(atlas_file), _instant(ctx, at)
    found = compare(lawfiles.read_policy(before, atlas), lawfiles.read_policy(after, atlas), atlas, instant)
    render.show(policytables.diff_answer(found), output, lambda: policytables.diff_text(found))
    if found.direction in (Direction.WIDER, Direction.MIXED):
        raise typer.Exit(REFUSED)


@app.command("check")
def check(
    ctx: typer.Context,
    *,
    policies: Annotated[
        list[Path],
        typer.Option("--policy", metavar="FILE", help="What a data owner or a floor states; may be given again."),
    ],
    world_file: World,
    job_file: Annotated[
        Path | None, typer.Option("--job", metavar="FILE", help="A job document, or the policy of one.")
    ] = None,
    atlas_file: AtlasFile = None,
    at: At = None,
    output: Output = Format.TABLE,
) -> None:
    """Judge every pool of a world under one or several policies together.

    Exits with 0 when some pool is allowed, with 1 when none is, with 2 when a file cannot be read as what it should be.
    """
    atlas, instant = lawfiles.read_atlas(atlas_file), _instant(ctx, at)
    owners = [layer for path in policies for layer in lawfiles.read_policies(path, atlas)]
    of = lawfiles.together(owners, lawfiles.read_job(job_file, atlas) if job_file else None)
    world = lawfiles.read_world(world_file, atlas)
    trial = try_policy(of, pool_facts(world), control_plane_facts(world), atlas, instant)
    render.show(policytables.check_answer(trial, atlas), output, lambda: policytables.check_text(trial))
    if not trial.is_allowed:
        raise typer.Exit(REFUSED)


def _instant(ctx: typer.Context, at: str | None) -> datetime:
    return lawfiles.read_instant_option(at, invocation.of(ctx).clock.now())
