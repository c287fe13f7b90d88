"""`nordan admin atlas`: which one is in force, what another would change, and whose an atlas is."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Annotated

import typer

from nordan_cli import render
from nordan_cli.atlasfiles import SignedFile, read_signed, trusted_keys, whose
from nordan_cli.atlasmodels import AtlasDiff, Atlases, AtlasFile
from nordan_cli.atlastables import diff_text, versions_text
from nordan_cli.client import Answer, Api, connect, path_of
from nordan_cli.decode import decode
from nordan_cli.errors import Failed, Unreadable, WrongUse
from nordan_cli.invocation import note
from nordan_cli.render import Format, Output
from nordan_cli.trust import read_bytes
from nordan_core.proof.atlas_signature import SUFFIX, check_atlas, sign_atlas, signature_bytes
from nordan_core.proof.errors import ProofError
from nordan_core.proof.keys import SigningKey
from nordan_core.residency.atlas import parse_atlas
from nordan_core.residency.errors import PolicyError

app = typer.Typer(
    help="The law's data: territories, groups, adequacy, certification levels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
#: What a person has to type of a digest.
SHORT = 12
File = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="An atlas; the one of this version where none is given.")
]
SignatureFile = Annotated[
    Path | None, typer.Option("--signature", metavar="FILE", help="Its signature, where it is not FILE.sig.")
]


@app.command("show")
def show(ctx: typer.Context, *, output: Output = Format.TABLE) -> None:
    """Show which atlas is in force, and those that were before it."""
    with connect(ctx) as api:
        answer = api.get("atlas")
    found = decode(Atlases, answer)
    render.show(answer, output, lambda: versions_text(found.items or (found.in_force,)))


@app.command("get")
def get(
    ctx: typer.Context,
    digest: Annotated[str | None, typer.Argument(metavar="DIGEST", help="An earlier one; else that in force.")] = None,
    *,
    to: Annotated[
        Path, typer.Option("-f", "--out", metavar="FILE", help="Write there; its signature goes to FILE.sig.")
    ],
) -> None:
    """Fetch an atlas as it was signed: whoever verifies a certificate or a log of its time needs these very bytes."""
    with connect(ctx) as api:
        named = digest or decode(Atlases, api.get("atlas")).in_force.digest
        found = decode(AtlasFile, api.get(path_of("atlas", named)))
    data = _bytes_of(found, named)
    to.write_bytes(data)
    to.with_name(to.name + SUFFIX).write_bytes(signature_bytes(found.signature))
    note(f"{to}: {found.digest}")


@app.command("diff")
def diff(
    ctx: typer.Context, file: File = None, *, signature: SignatureFile = None, output: Output = Format.TABLE
) -> None:
    """Show what an atlas would change, in the law and for policies, pools and live attempts. Changes nothing."""
    offered = read_signed(file, signature)
    with connect(ctx) as api:
        answer = _diff(api, offered)
    render.show(answer, output, lambda: diff_text(decode(AtlasDiff, answer)))


@app.command("apply")
def apply(
    ctx: typer.Context,
    file: File = None,
    *,
    signature: SignatureFile = None,
    digest: Annotated[
        str | None, typer.Option("--digest", metavar="DIGEST", help="Digest that you have read and want in force.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Put an atlas in force: shows what it changes, asks for its digest, applies it. Violators are fenced at once."""
    offered = read_signed(file, signature)
    if digest is not None and digest != offered.atlas.digest:
        raise WrongUse(f"{offered.name} has the digest {offered.atlas.digest}, not {digest}")
    with connect(ctx) as api:
        answer = _diff(api, offered)
        render.show(answer, output, lambda: diff_text(decode(AtlasDiff, answer)))
        if not yes and digest is None:
            _confirm(offered)
        api.post("atlas:apply", {**_body(offered), "digest": offered.atlas.digest})
    note(f"{offered.atlas.version} is in force")


@app.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An atlas.")],
    *,
    key_file: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Ed25519 private key, of: python -m nordan_core.proof.keys.")
    ],
    to: Annotated[
        Path | None, typer.Option("-f", "--out", metavar="FILE", help="Write there, not to FILE.sig.")
    ] = None,
) -> None:
    """Sign an atlas of your own. A control plane takes it once it trusts the key (NORDAN_ATLAS_KEYS)."""
    data = read_bytes(file)
    try:
        atlas, key = parse_atlas(data), SigningKey.load(key_file)
    except (PolicyError, ProofError) as error:
        raise WrongUse(str(error)) from error
    beside = to or file.with_name(file.name + SUFFIX)
    beside.write_bytes(signature_bytes(sign_atlas(data, key)))
    note(f"{beside}: {atlas.version}, {atlas.digest}, signed with the key {key.public.key_id}")


@app.command("verify")
def verify(
    file: File = None,
    *,
    signature: SignatureFile = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            "--trust", metavar="FILE", help="Public key of whoever makes atlases; may be given several times."
        ),
    ] = None,
) -> None:
    """Check offline who signed an atlas: a release of Nordan, or one of the keys given; exits with 1 if nobody."""
    signed = read_signed(file, signature)
    try:
        key = check_atlas(signed.data, signed.signature, trusted_keys(trust or []))
    except ProofError as error:
        raise Failed(f"{signed.name}: {error}") from error
    typer.echo(f"{signed.atlas.version} {signed.atlas.digest}, signed by {whose(key)}")


def _bytes_of(found: AtlasFile, named: str) -> bytes:
    """Return the bytes that a server sent, once they are those that were asked for: it may be wrong, or lie."""
    try:
        data = base64.b64decode(found.data, validate=True)
    except binascii.Error:
        raise Unreadable("data", "is not base64") from None
    if not hashlib.sha256(data).hexdigest() == found.digest == named:
        raise Failed(f"the server sent another atlas than {named}; nothing was written")
    return data


def _diff(api: Api, offered: SignedFile) -> Answer:
    return api.ask("atlas:diff", _body(offered))


def _body(offered: SignedFile) -> Answer:
    return {"data": base64.b64encode(offered.data).decode("ascii"), "signature": dict(offered.signature)}


def _confirm(offered: SignedFile) -> None:
    given = typer.prompt(f"To put {offered.atlas.version} in force, type its digest or the first 12 of it", err=True)
    if len(given) < SHORT or not offered.atlas.digest.startswith(given):
        raise Failed("that is not its digest; nothing was changed")
