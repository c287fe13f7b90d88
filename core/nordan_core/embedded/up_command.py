"""`nordan up` and `nordan down`: options, output, exit codes. The work is in `up` and `detached`.

Loaded by the CLI through its entry points; also `python -m nordan_core.embedded.up_command`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nordan_core.domain.errors import NordanError
from nordan_core.embedded.cli_config import log_in
from nordan_core.embedded.detached import start_detached, stop_detached
from nordan_core.embedded.faults import explained
from nordan_core.embedded.invoker import handed_on, whole_environment
from nordan_core.embedded.layout import default_data_dir
from nordan_core.embedded.stopping import Stopping, stop_on_signals
from nordan_core.embedded.terminal import TerminalReporter
from nordan_core.embedded.up import DEFAULT_PORT, Ready, UpOptions, run_up

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
down_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_DATA_HELP = "Where everything is kept. [default: /var/lib/nordan as root, else ~/.local/share/nordan]"
_PORT_HELP = f"Port of the api; 0 takes any. [default: the last one, else {DEFAULT_PORT}]"
_WORLD_HELP = "YAML file of regions, operators and pools. [default: what is there, else one region, home-1]"
DataDir = Annotated[Path | None, typer.Option(envvar="NORDAN_DATA_DIR", readable=False, help=_DATA_HELP)]


class _Reporter(TerminalReporter):
    """Logs the invoking user in as soon as the stack can be used."""

    def __init__(self, config: Path) -> None:
        super().__init__()
        self._config = config

    def ready(self, ready: Ready) -> None:
        """Say where the stack is, and how to use it."""
        super().ready(ready)
        try:
            is_logged_in = log_in(self._config, ready)
        except OSError as error:
            self.note(f"{self._config} cannot be written: {error.strerror}.")
            is_logged_in = False
        if is_logged_in:
            self.logged_in(str(self._config))
        else:
            self.not_logged_in(str(self._config), ready)


@app.command()
def up(
    ctx: typer.Context,
    *,
    data_dir: DataDir = None,
    world: Annotated[Path | None, typer.Option(readable=False, help=_WORLD_HELP)] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help=_PORT_HELP)] = None,
    stop_jobs: Annotated[bool, typer.Option("--stop-jobs", help="Stop running jobs too when the stack stops.")] = False,
    standby: Annotated[bool, typer.Option(help="Run a second scheduler that takes over at once.")] = True,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the stack is ready.")] = False,
    config_file: Annotated[Path | None, typer.Option("--config", envvar="NORDAN_CONFIG", hidden=True)] = None,
) -> None:
    """Start Nordan on this machine and keep it running until Ctrl-C.

    Jobs that run then go on and are found again by the next start.
    """
    environment = whole_environment()
    folder = data_dir or default_data_dir(environment.get("XDG_DATA_HOME", ""))
    config = config_file or _config_of(ctx)
    options = UpOptions(
        data_dir=folder,
        world=world,
        port=port,
        stops_jobs=stop_jobs,
        has_standby=standby,
        database_url=environment.get("NORDAN_DATABASE_URL") or environment.get("DATABASE_URL", ""),
        environment=tuple(sorted(handed_on(environment).items())),
    )
    with explained(folder):
        if detach:
            url = start_detached(folder, _arguments(options, config))
            typer.echo(f"Nordan is ready at {url}; `nordan down` stops it.")
            return
        stopping = Stopping()
        with stop_on_signals(stopping), _Reporter(config) as reporter:
            run_up(options, reporter, stopping)


@down_app.command()
def down(*, data_dir: DataDir = None) -> None:
    """Stop a running `nordan up` in order and wait for its end."""
    folder = data_dir or default_data_dir(whole_environment().get("XDG_DATA_HOME", ""))
    with explained(folder):
        was_running = stop_detached(folder)
    typer.echo("stopped" if was_running else f"nothing runs on {folder}")


def main() -> int:
    """Run `up` without the CLI, as `--detach` does; ends the process with 2 after wrong use, as the CLI does."""
    try:
        app()
    except NordanError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _config_of(ctx: typer.Context) -> Path:
    """Return the configuration that the CLI's own options chose, else the user's."""
    chosen = getattr(ctx.obj, "config_path", None)
    return chosen if isinstance(chosen, Path) else Path(typer.get_app_dir("nordan")) / "config.json"


def _arguments(options: UpOptions, config: Path) -> list[str]:
    """Return the command line that means the same to an `up` in another working folder."""
    arguments = [f"--data-dir={options.data_dir.absolute()}", f"--config={config.absolute()}"]
    if options.world:
        arguments.append(f"--world={options.world.absolute()}")
    if options.port is not None:
        arguments.append(f"--port={options.port}")
    arguments.append("--standby" if options.has_standby else "--no-standby")
    return [*arguments, *(["--stop-jobs"] if options.stops_jobs else [])]


if __name__ == "__main__":
    sys.exit(main())
