"""`nordan login`: check an address and a key, and remember them."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from nordan_cli import config, invocation
from nordan_cli.client import Api
from nordan_cli.decode import decode
from nordan_cli.errors import Problem, WrongUse
from nordan_cli.invocation import DEFAULT_PROJECT, note
from nordan_cli.models import Me


def login(
    ctx: typer.Context,
    *,
    url: Annotated[str, typer.Option(help="Address of the control plane: https://HOST.")] = "",
    key: Annotated[str, typer.Option(help="API key; asked for if unsaid, - reads a line of standard input.")] = "",
    project: Annotated[str | None, typer.Option("--project", "-p", help="Project that verbs are about.")] = None,
) -> None:
    """Remember a control plane and an API key.

    Both are checked first. They are stored in a file that only you can read; an API key on a command line can be read
    by others on this machine while the command runs, so better leave --key out and be asked.
    """
    run = invocation.of(ctx)
    stored = config.load(run.config_path)
    url = url or run.url or stored.url
    if not url:
        raise WrongUse("which control plane? nordan login --url https://HOST")
    secret = _secret(key or run.key)
    with Api(run, url, secret, project or DEFAULT_PROJECT) as api:
        me = _me(api)
    if urlsplit(url).scheme == "http" and urlsplit(url).hostname not in {"127.0.0.1", "::1", "localhost"}:
        note("warning: http sends the key in clear text; use https")
    chosen = project or run.project or me.project or DEFAULT_PROJECT
    config.save(run.config_path, config.Config(url=url.rstrip("/"), key=secret, project=chosen))
    typer.echo(f"{me.organisation} as {me.role}, project {chosen}; stored in {run.config_path}")


def _secret(given: str) -> str:
    if given == "-":
        given = sys.stdin.readline()
    elif not given:
        given = typer.prompt("API key", hide_input=True, err=True)
    secret = given.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise WrongUse("that is no API key; keys are plain letters, digits and _")
    return secret


def _me(api: Api) -> Me:
    try:
        return decode(Me, api.get("me"))
    except Problem as problem:
        if problem.status == 401:
            problem.detail = f"{api.url} does not know this key, or it has expired; nothing was stored"
        raise
