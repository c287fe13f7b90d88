"""`nordan certificate`: fetch a residency certificate, and check one offline.

`verify` opens no connection: two public keys, fetched once with `certificate keys`, and the atlas that comes with
Nordan are all it needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import references, render
from nordan_cli.atlasfiles import read_signed, trusted_keys
from nordan_cli.client import Answer, Api, connect
from nordan_cli.decode import decode
from nordan_cli.errors import Failed, Problem
from nordan_cli.invocation import note
from nordan_cli.models import IssuedCertificate, TrustedKeys
from nordan_cli.options import OutFile, Project
from nordan_cli.references import JobArgument
from nordan_cli.render import Format, Output
from nordan_cli.trust import Trust, read_bytes, read_trust
from nordan_core.atlas.loader import default_atlas
from nordan_core.proof.atlas_signature import check_atlas
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.certificate import verify_certificate
from nordan_core.proof.errors import ProofError
from nordan_core.proof.report import VerificationReport
from nordan_core.residency.places import Atlas

app = typer.Typer(help="Get and verify residency certificates.", no_args_is_help=True, rich_markup_mode=None)

WAITED_S = 60.0
PAUSE_S = 0.5
REFUSED = 1


@app.command("get")
def get(
    ctx: typer.Context,
    job: JobArgument,
    *,
    to: OutFile = None,
    redacted: Annotated[
        bool, typer.Option("--redacted", help="What may be shown to others: no names, no command, no people.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until the job has ended and the audit log is sealed.")] = False,
    project: Project = None,
) -> None:
    """Fetch the certificate of a job that has ended, in the one form in which it verifies."""
    with connect(ctx, project) as api:
        identity = references.job_id(api, job)
        issued = _issued(api, identity, wait=wait, redacted=redacted)
    text = canonical_json(issued.envelope).decode()
    if to is None:
        typer.echo(text)
        return
    to.write_text(f"{text}\n", encoding="utf-8")
    what = "redacted certificate" if redacted else "certificate"
    note(f"{to}: {what} of {identity}; nordan certificate verify {to} --keys keys.json")


@app.command("keys")
def keys(
    ctx: typer.Context,
    *,
    to: OutFile = None,
    known: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Keys that you kept: refuse what they do not lead to.")
    ] = None,
) -> None:
    """Fetch the public keys that certificates are verified with. Keep them: that is what makes verifying offline."""
    with connect(ctx) as api:
        answer = api.get("keys")
    told = decode(TrustedKeys, answer)
    if not told.certificate_keys:
        raise Failed(f"{api.url} has no certificate key; it signs no certificates")
    if known is not None:
        _check_descent(read_trust(known), told)
    text = json.dumps(answer, indent=2)
    if to is None:
        typer.echo(text)
        return
    to.write_text(f"{text}\n", encoding="utf-8")
    note(f"{to}: the public keys of {api.url}")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate.")],
    *,
    keys_file: Annotated[Path, typer.Option("--keys", metavar="FILE", help="Public keys, of: certificate keys.")],
    atlas_files: Annotated[
        list[Path] | None,
        typer.Option("--atlas", metavar="FILE", help="An atlas that it names, of: admin atlas get; may be repeated."),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option("--trust", metavar="FILE", help="Public key of whoever made such an atlas; may be repeated."),
    ] = None,
    growth_file: Annotated[
        Path | None,
        typer.Option("--growth", metavar="FILE", help="Proof from a head that you kept: admin audit compare."),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check a certificate offline: signature, place in the audit log, and every judgement again.

    Exits with 1 when any check fails.
    """
    known = read_trust(keys_file)
    atlas, *earlier = (*_atlases(atlas_files or (), trust or ()), default_atlas())
    report = verify_certificate(
        read_bytes(file),
        grant_keys=known.grant_keys,
        certificate_keys=known.certificate_keys,
        atlas=atlas,
        earlier=earlier,
        growth=read_bytes(growth_file) if growth_file else None,
    )
    render.show(_document(report), output, lambda: _describe(report))
    if not report.ok:
        raise typer.Exit(REFUSED)


def _atlases(files: Sequence[Path], trust: Sequence[Path]) -> Iterator[Atlas]:
    """Yield atlases that somebody whom the reader trusts has signed: by any other, whatever was done was lawful."""
    keys = trusted_keys(trust)
    for path in files:
        signed = read_signed(path, None)
        try:
            check_atlas(signed.data, signed.signature, keys)
        except ProofError as error:
            raise Failed(f"{signed.name}: {error}; --trust names a key that you trust") from error
        yield signed.atlas


def _check_descent(kept: Trust, told: TrustedKeys) -> None:
    """Raise `Failed` unless each key that the server tells of is one that was kept, or follows from it."""
    try:
        led = kept.led_by(told.successions)
    except ProofError as error:
        raise Failed(str(error)) from error
    strangers = sorted({*told.grant_keys} - {*led.grant_keys} | {*told.certificate_keys} - {*led.certificate_keys})
    if strangers:
        raise Failed(f"no key that you kept leads to {strangers[0]}; ask the operator why, in another way")


def _issued(api: Api, identity: str, *, wait: bool, redacted: bool) -> IssuedCertificate:
    until = api.run.clock.monotonic() + WAITED_S
    while True:
        issued = _ask(api, identity, wait=wait, redacted=redacted)
        if issued is not None and issued.envelope is not None:
            return issued
        # A redacted one is made when it is asked for; nobody should have to ask twice.
        if not wait and not redacted:
            raise Failed("the certificate is pending until the audit log is sealed, about a second; --wait waits")
        if issued is not None and api.run.clock.monotonic() >= until:
            raise Failed(f"the certificate is still pending after {WAITED_S:.0f} s; does the scheduler run?")
        api.run.sleep(PAUSE_S)


def _ask(api: Api, identity: str, *, wait: bool, redacted: bool) -> IssuedCertificate | None:
    """Return what the server has; None while the job goes on and we wait for its end."""
    try:
        query = {"redacted": "true"} if redacted else {}
        return decode(IssuedCertificate, api.get(api.within("jobs", identity, "certificate"), **query))
    except Problem as problem:
        if wait and problem.code == "job_not_ended":
            return None
        raise


def _document(report: VerificationReport) -> Answer:
    return {
        "verified": report.ok,
        "checks": [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in report.checks],
        "gaps": list(report.gaps),
        "assumptions": list(report.assumptions),
        "redacted": list(report.certificate.redacted) if report.certificate else [],
    }


def _describe(report: VerificationReport) -> str:
    rows = ((one.name, "holds" if one.ok else "fails", one.detail) for one in report.checks)
    failed = sum(not one.ok for one in report.checks)
    verdict = "verified" if report.ok else f"REFUSED: {failed} of {len(report.checks)} checks failed"
    return render.sections(
        ("", _subject(report)),
        ("Checks", render.table(("check", "", "detail"), rows)),
        ("Gaps", "\n".join(f"- {gap}" for gap in report.gaps) or ("none" if report.certificate else "")),
        ("Assumptions", "\n".join(f"- {one}" for one in report.assumptions)),
        ("Redacted", "\n".join(f"- {one}" for one in report.certificate.redacted) if report.certificate else ""),
        ("", verdict),
    )


def _subject(report: VerificationReport) -> str:
    found = report.certificate
    if found is None:
        return ""
    attempts = [(one.number, one.region, one.pool, one.result.value, one.placed_at) for one in found.attempts]
    return render.sections(
        ("", render.fields((("job", found.job.id), ("state", found.job.state.value)))),
        ("", render.table(("attempt", "region", "pool", "result", "placed"), attempts)),
    )
