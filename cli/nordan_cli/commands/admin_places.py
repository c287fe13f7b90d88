"""`nordan admin regions`: places as an operator sees them."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from nordan_cli.client import Api, connect, path_of
from nordan_cli.commands import market
from nordan_cli.errors import WrongUse
from nordan_cli.invocation import note
from nordan_cli.joining import REGION_NAMESPACE, join_secret, new_broker
from nordan_cli.options import OutFile
from nordan_cli.render import Format, Output

SECRET_MODE = 0o600
Value = TypeVar("Value")

regions = typer.Typer(help="List regions and let them join.", invoke_without_command=True, rich_markup_mode=None)


@regions.callback()
def all_regions(ctx: typer.Context, *, output: Output = Format.TABLE) -> None:
    """List regions and let them join."""
    if ctx.invoked_subcommand is None:
        market.regions(ctx, output=output)


regions.command("list")(market.regions)


class JoinForm(StrEnum):
    """What `join` prints."""

    SECRET = "secret"  # noqa: S105  # the name of a form, not one
    BUNDLE = "bundle"


@regions.command("join")
def join(
    ctx: typer.Context,
    code: Annotated[str, typer.Argument(metavar="CODE", help="Region.")],
    *,
    form: Annotated[
        JoinForm | None,
        typer.Option(
            "--format",
            help="A Kubernetes Secret, or the bare bundle, which is the default when --broker-url-file is given.",
        ),
    ] = None,
    gateway_url: Annotated[
        str | None, typer.Option(help="Where clients reach its gateway. Left out: where they reached it until now.")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="For a Secret: where the control plane reaches its broker; a password is made."
        ),
    ] = None,
    broker_url_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a bundle: file with its broker's URL and password.")
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="For a Secret: the namespace of the region's parts.")
    ] = REGION_NAMESPACE,
    tenancy: Annotated[list[str] | None, typer.Option(help="What its executor keeps apart; may be repeated.")] = None,
    to: OutFile = None,
) -> None:
    """Let a region join: prints what its processes need, a secret among it. An earlier credential ends."""
    chosen = form or (JoinForm.BUNDLE if broker_url_file else JoinForm.SECRET)
    if chosen is JoinForm.SECRET:
        made = new_broker(code, _needed(broker, "--broker", "redis://HOST:6379"))
        url = made.url
    else:
        url = _secret(_needed(broker_url_file, "--broker-url-file", "a file with the broker's URL"))
    with connect(ctx) as api:
        asked: dict[str, object] = {"gateway_url": gateway_url or _known_gateway(api, code), "broker_url": url}
        if tenancy:
            asked["offers_tenancy"] = tenancy
        answer = api.post(path_of("regions", code, verb="join"), asked)
    text = json.dumps(answer, indent=2) if chosen is JoinForm.BUNDLE else join_secret(answer, made, namespace).rstrip()
    if to is None:
        typer.echo(text)
        return
    _write_secret(to, f"{text}\n")
    note(f"{to}: what {code} needs to join; a secret, for its machines only")


def _needed(value: Value | None, option: str, example: str) -> Value:
    if value is None:
        raise WrongUse(f"give {option}: {example}")
    return value


def _known_gateway(api: Api, code: str) -> str:
    """Return where a region that joined before has its gateway."""
    for one in api.items("regions", limit=10_000):
        if one.get("code") == code and one.get("gateway_url"):
            return str(one["gateway_url"])
    raise WrongUse("give --gateway-url: https://HOST, as clients reach the region's gateway")


def _secret(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"cannot read {path}: {error}") from error


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, SECRET_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, SECRET_MODE)
        file.write(text)
