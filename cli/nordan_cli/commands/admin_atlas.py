"""`nordan admin atlas`: whose an atlas is, and which one is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nordan_cli.atlasfiles import read_signed, trusted_keys, whose
from nordan_cli.errors import Failed, WrongUse
from nordan_cli.invocation import note
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
File = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="An atlas; the one of this version where none is given.")
]
SignatureFile = Annotated[
    Path | None, typer.Option("--signature", metavar="FILE", help="Its signature, where it is not FILE.sig.")
]


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
