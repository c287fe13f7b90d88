"""`nordan admin audit`: the log of acts and its signed heads, shown, compared, exported and verified offline."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from nordan_cli import invocation, render
from nordan_cli.atlasfiles import trusted_keys
from nordan_cli.client import PAGE_SIZE, Answer, Api, connect
from nordan_cli.decode import decode, decode_items
from nordan_cli.errors import Failed, WrongUse
from nordan_cli.invocation import note
from nordan_cli.models import AuditEntry, TrustedKeys
from nordan_cli.options import Limit, OutFile, seconds
from nordan_cli.progress import Tally, Transfer
from nordan_cli.render import Format, Output
from nordan_cli.trust import read_bytes, read_trust
from nordan_core.atlas.loader import default_atlas
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.checkpoint import Checkpoint, verify_checkpoint
from nordan_core.proof.errors import ProofError
from nordan_core.proof.export import entry_line, head_line
from nordan_core.proof.growth import growth_faults, growth_of
from nordan_core.proof.keys import KeyRing
from nordan_core.proof.replay import Replay, Terms, replay
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas

app = typer.Typer(
    help="Show, compare, export and verify the log of acts.", invoke_without_command=True, rich_markup_mode=None
)
REFUSED = 1
#: Entries are small; fewer requests are faster.
EXPORT_PAGE = 1000
KeysFile = Annotated[Path, typer.Option("--keys", metavar="FILE", help="Public keys, of: certificate keys.")]


@app.callback()
def audit(
    ctx: typer.Context,
    *,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="Only the signed head, as JSON.")] = False,
    after: Annotated[int, typer.Option(min=-1, help="Only entries behind this index.")] = -1,
    limit: Limit = 100,
    output: Output = Format.TABLE,
) -> None:
    """Show the audit log's entries, in the order in which they were sealed."""
    if ctx.invoked_subcommand is not None:
        return
    with connect(ctx) as api:
        if checkpoint:
            render.show(api.get("audit/checkpoint"), Format.JSON, str)
            return
        answer = {"items": _entries(api, after, limit)}

    def draw() -> str:
        entries = decode_items(AuditEntry, answer)
        rows = ((one.index, one.at, one.act, one.subject, one.actor) for one in entries)
        return render.table(("index", "at", "act", "subject", "actor"), rows)

    render.show(answer, output, draw)


@app.command("compare")
def compare(
    ctx: typer.Context,
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="A head that you kept, of: admin audit --checkpoint.")],
    *,
    keys_file: KeysFile,
    new: Annotated[
        int | None, typer.Option(min=1, metavar="SIZE", help="Compare with this head, not with the newest.")
    ] = None,
    to: OutFile = None,
) -> None:
    """Check that the log has only grown since a head that you kept: nothing before it was rewritten or taken away.

    With --out the proof is kept, for certificate verify --growth. Exits with 1 when the log is another one.
    """
    trust = read_trust(keys_file)
    kept = _kept_head(head, trust.certificate_keys)
    with connect(ctx) as api:
        document = api.get("audit/consistency", old=kept.size, new=new)
        told = decode(TrustedKeys, api.get("keys"))
    try:
        keys = trust.led_by(told.successions).certificate_keys
        growth = growth_of(document, keys)
        faults = list(growth_faults(growth))
        if growth.old != kept:
            faults.append(f"the server's head of {kept.size} entries is not the one that you kept")
    except ProofError as error:
        faults = [str(error)]
    if faults:
        raise Failed("; ".join(faults))
    if to is not None:
        to.write_bytes(canonical_json(document) + b"\n")
    typer.echo(f"the log of {growth.new.size} entries begins with the {kept.size} that you kept the head of")


@app.command("export")
def export(
    ctx: typer.Context,
    *,
    to: Annotated[Path, typer.Option("-f", "--out", metavar="FILE", help="Write there.")],
) -> None:
    """Write the whole log into a file: an entry or a signed head a line, with the salts that open the leaves.

    It tells of every tenant's acts by handles and digests. Keep it as you keep the database.
    """
    with connect(ctx) as api, _new_file(to) as file:
        count = export_log(api, file)
    note(f"{to}: {count} entries; nordan admin audit verify {to} --keys keys.json")


@app.command("verify")
def verify(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An export; without one, the log is fetched first.")
    ] = None,
    *,
    keys_file: KeysFile,
    atlases: Annotated[
        list[Path] | None,
        typer.Option("--atlas", metavar="FILE", help="An atlas of an earlier time; may be given several times."),
    ] = None,
    makers: Annotated[
        list[Path] | None,
        typer.Option(
            "--trust", metavar="FILE", help="Public key of whoever made an atlas of the log; may be repeated."
        ),
    ] = None,
    heads: Annotated[
        list[Path] | None,
        typer.Option("--head", metavar="FILE", help="A head that you kept; may be given several times."),
    ] = None,
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="TIME", help="Refuse a log whose newest head is older: 1h.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Replay the whole log offline: every leaf, every signed head, every judged act judged again.

    Exits with 0 when all of it holds, 1 when anything does not, 2 when a file cannot be used.
    """
    trust = read_trust(keys_file)
    keys = trust.certificate_keys
    run = invocation.of(ctx)
    terms = Terms(
        keys=keys,
        grant_keys=trust.grant_keys,
        atlases=_atlases(atlases or []),
        atlas_keys=trusted_keys(makers or []),
        kept=tuple(_kept_head(one, keys) for one in heads or []),
        not_before=None if max_age is None else run.clock.now() - timedelta(seconds=seconds(max_age)),
    )
    with _export_in(ctx, file) as opened:
        size = os.fstat(opened.fileno()).st_size
        with Transfer("verifying", 2 * size, clock=run.clock, is_watched=invocation.is_watched()) as bar:
            found = replay(opened, terms, _advancing(bar))
    render.show(_replay_document(found), output, lambda: _describe_replay(found))
    if not found.ok:
        raise typer.Exit(REFUSED)


def export_log(api: Api, file: BinaryIO) -> int:
    """Write the log as it is now, up to its newest head, and return how many entries that is."""
    total = int(api.get("audit/checkpoint")["size"])
    entries = _paged(api, "audit/entries", -1, salts="true")
    written = 0
    with Tally("exporting", total, clock=api.run.clock, is_watched=invocation.is_watched()) as bar:
        for head in _paged(api, "audit/checkpoints", 0):
            for one in islice(entries, head["size"] - written):
                opening = (one.pop("index"), one.pop("salt"), one.pop("form"))
                file.write(entry_line(*opening, one))
            file.write(head_line(head["envelope"]))
            bar.advance(head["size"] - written)
            written = head["size"]
            if written >= total:
                break
    return written


def _paged(api: Api, path: str, after: int, **query: str) -> Iterator[Answer]:
    where: int | None = after
    while where is not None:
        page = api.get(path, after=where, limit=EXPORT_PAGE, **query)
        yield from page.get("items", [])
        where = page.get("next_after")


@contextmanager
def _export_in(ctx: typer.Context, file: Path | None) -> Iterator[BinaryIO]:
    """Open an export, or fetch one into a file that is gone afterwards."""
    if file is None:
        with tempfile.TemporaryFile() as fetched:
            with connect(ctx) as api:
                export_log(api, fetched)
            fetched.flush()
            yield fetched
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise WrongUse(f"cannot read {file}: {error.strerror}") from error
    with opened:
        if not opened.seekable():
            raise WrongUse(f"{file} is read twice; write it into a file first")
        yield opened


def _new_file(path: Path) -> BinaryIO:
    """Open a file that only its owner can read; what was in one of that name is lost."""
    try:
        opened = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise WrongUse(f"cannot write {path}: {error.strerror}") from error
    return opened


def _advancing(bar: Transfer) -> Callable[[int], None]:
    done = 0

    def reach(position: int) -> None:
        nonlocal done
        bar.advance(max(0, position - done))
        done = max(done, position)

    return reach


def _atlases(files: list[Path]) -> Mapping[str, Atlas]:
    try:
        given = [parse_atlas(read_bytes(one)) for one in files]
    except PolicyError as error:
        raise WrongUse(f"an atlas cannot be read: {error}") from error
    return {one.digest: one for one in (default_atlas(), *given)}


def _replay_document(found: Replay) -> Answer:
    newest = found.newest
    return {
        "verified": found.ok,
        "entries": found.entries,
        "heads": found.heads,
        "judged_again": found.judged,
        "withheld": found.withheld,
        "newest": None if newest is None else {"size": newest.size, "root": newest.root.hex(), "at": str(newest.at)},
        "faults": found.faults,
        "fault_count": found.fault_count,
    }


def _describe_replay(found: Replay) -> str:
    newest = found.newest
    rows = (
        ("entries", found.entries),
        ("signed heads", found.heads),
        ("newest head", f"{newest.size} entries, {newest.at}" if newest else "none"),
        ("judged again", found.judged),
        ("withheld", f"{found.withheld}, of policies that may not be described here" if found.withheld else "0"),
    )
    more = found.fault_count - len(found.faults)
    faults = [f"- {one}" for one in found.faults] + ([f"- and {more} more"] if more else [])
    verdict = "verified" if found.ok else f"REFUSED: {found.fault_count} faults"
    return render.sections(("", render.fields(rows)), ("Faults", "\n".join(faults)), ("", verdict))


def _kept_head(path: Path, keys: KeyRing) -> Checkpoint:
    """Read a head as the server printed it, or its bare envelope.

    Raises:
        WrongUse: the file holds none, or one that no trusted key signed.
    """
    try:
        document = json.loads(read_bytes(path))
        return verify_checkpoint(document.get("envelope", document), keys)
    except (ValueError, RecursionError, AttributeError) as error:
        raise WrongUse(f"{path} holds no head of a log; nordan admin audit --checkpoint prints one") from error
    except ProofError as error:
        raise WrongUse(f"{path}: {error}") from error


def _entries(api: Api, after: int, limit: int) -> list[Answer]:
    found: list[Answer] = []
    where: int | None = after
    while where is not None and len(found) < limit:
        page = api.get("audit/entries", after=where, limit=min(PAGE_SIZE, limit - len(found)))
        found += page.get("items", [])
        where = page.get("next_after")
    return found
