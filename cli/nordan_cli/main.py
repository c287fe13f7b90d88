"""The `nordan` command: global options, verbs loaded by name, errors turned into text and exit codes.

A client of REST and nothing else. Verbs live in `nordan_cli.commands`, or in the package that owns their server part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nordan_cli import config, invocation
from nordan_cli.errors import CliError
from nordan_cli.invocation import Invocation
from nordan_cli.verbs import VerbGroup
from nordan_core.domain.errors import NordanError

app = typer.Typer(
    name="nordan",
    cls=VerbGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong use, 130 after Ctrl-C; the job's own when attached, "
    "the command's after exec.",
)


def main(args: Sequence[str] | None = None, run: Invocation | None = None) -> NoReturn:
    """Run one command line and exit the process with its code."""
    try:
        app(args=args, prog_name="nordan", obj=run or Invocation())
    except NordanError as error:
        complain(str(error))
        sys.exit(error.exit_code if isinstance(error, CliError) else 1)
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    sys.exit(0)


def complain(text: str) -> None:
    """Print an error for a person: on standard error, red where there are colours."""
    typer.secho("error: ", err=True, nl=False, fg=typer.colors.RED)
    typer.echo(text, err=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"nordan {version('nordan')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    url: Annotated[str, typer.Option(envvar="NORDAN_URL", help="Address of the control plane.")] = "",
    key: Annotated[str, typer.Option(envvar="NORDAN_KEY", hidden=True)] = "",
    project: Annotated[str, typer.Option(envvar="NORDAN_PROJECT", help="Project that verbs are about.")] = "",
    config_file: Annotated[
        Path | None, typer.Option("--config", envvar="NORDAN_CONFIG", help="Configuration file.")
    ] = None,
    _is_version_asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run GPU jobs where their data may lawfully be, and prove it."""
    run = invocation.of(ctx)
    run.url, run.key, run.project = url or run.url, key or run.key, project or run.project
    run.config_path = config_file or run.config_path or config.default_path()
