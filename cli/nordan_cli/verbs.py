"""The verbs and where their code is, so that `nordan --help` and a mistyped verb load none of it.

`main.py` makes the root command from this. A verb is a function or a Typer app behind `module:name`; packages that
own server code bring theirs as entry points of the group `nordan.commands` (`up`, `simulate`), or of
`nordan.commands.admin` for what stands below `nordan admin` (`cluster`), loaded the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nordan_cli.errors import Failed

ENTRY_POINTS = "nordan.commands"
ADMIN_ENTRY_POINTS = "nordan.commands.admin"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: what help says of it, and where it is."""

    name: str
    help: str
    target: str


_HERE = "nordan_cli.commands"

#: In the order of a first day: set up, look, run, watch, fetch, prove, pay, administer.
VERBS = (
    Verb("login", "Remember a control plane and an API key.", f"{_HERE}.login:login"),
    Verb("submit", "Submit a job from a document, or from flags and a command.", f"{_HERE}.submit:submit"),
    Verb("plan", "Show where a job may run, and why not elsewhere; submits nothing.", f"{_HERE}.plan:plan"),
    Verb("list", "List jobs, newest first.", f"{_HERE}.jobs:list_jobs"),
    Verb("get", "Show a job: state, history, attempts, policy, cost.", f"{_HERE}.jobs:get"),
    Verb("why", "Say why a job waits, or why it ended.", f"{_HERE}.jobs:why"),
    Verb("logs", "Print what a job wrote.", f"{_HERE}.logs:logs"),
    Verb("exec", "Run a command inside a running job.", f"{_HERE}.exec:exec_"),
    Verb("cancel", "Stop a job.", f"{_HERE}.jobs:cancel"),
    Verb("retry", "Go on with a fenced job in another attempt.", f"{_HERE}.fenced:retry"),
    Verb("connect", "Show where an inference job answers, and a token for it.", f"{_HERE}.connect:connect"),
    Verb("dataset", "Put, list, show and copy datasets.", f"{_HERE}.datasets:app"),
    Verb("artifact", "List, fetch and copy what jobs left.", f"{_HERE}.artifacts:app"),
    Verb("policy", "Lint, explain, compare and try policies, without a server.", f"{_HERE}.policies:app"),
    Verb("certificate", "Get and verify residency certificates.", f"{_HERE}.certificates:app"),
    Verb("usage", "Show what jobs used and cost.", f"{_HERE}.usage:usage"),
    Verb("regions", "List regions.", f"{_HERE}.market:regions"),
    Verb("offers", "List pools and their prices.", f"{_HERE}.market:offers"),
    Verb(
        "admin", "Administer: world, organisations, projects, keys, derogations, regions, audit.", f"{_HERE}.admin:app"
    ),
)

#: What help says of entry points that we know; asking them would import the server.
_PLUGIN_HELP = {
    "up": "Start Nordan on this machine.",
    "down": "Stop a Nordan that runs on this machine.",
    "simulate": "Run the scheduler on made-up load.",
    "import": "Describe pools by the nodes of a cluster.",
    "cluster": "Keep a region's Kubernetes cluster inside its law.",
}


class VerbGroup(TyperGroup):
    """The root command: knows its verbs by name and loads one when it is used."""

    def __init__(self, **attributes: Any) -> None:  # Any: Typer hands its own settings through
        super().__init__(**attributes)
        self.commands.update({verb.name: LazyCommand(verb) for verb in VERBS})

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer's context base is private
        """Return the verbs in the order of help: plug-ins first, since `up` comes before all else."""
        del ctx
        return sorted(set(self._with_plugins()) - {verb.name for verb in VERBS}) + [verb.name for verb in VERBS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stand-in that loads the verb when its arguments are parsed."""
        del ctx
        return self.commands.get(cmd_name) or self._with_plugins().get(cmd_name)

    def _with_plugins(self) -> Mapping[str, Any]:
        for name, command in plugins(ENTRY_POINTS):
            self.commands.setdefault(name, command)
        return self.commands


class AdminGroup(TyperGroup):
    """`nordan admin`: commands of ours, and those that other packages bring."""

    entry_points = ADMIN_ENTRY_POINTS

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer's context base is private
        """Return our commands in the order of help, then the plug-ins."""
        del ctx
        return list(self._with_plugins())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of ours, or a stand-in for a plug-in's."""
        del ctx
        return self.commands.get(cmd_name) or self._with_plugins().get(cmd_name)

    def _with_plugins(self) -> Mapping[str, Any]:
        for name, command in plugins(self.entry_points):
            self.commands.setdefault(name, command)
        return self.commands


class PoolsGroup(AdminGroup):
    """`nordan admin pools`."""

    entry_points = f"{ADMIN_ENTRY_POINTS}.pools"


def plugins(group: str) -> Iterator[tuple[str, LazyCommand]]:
    """Yield a stand-in for each command that an installed package brings to a group of entry points."""
    from importlib.metadata import entry_points  # noqa: PLC0415  costs as much as all of Typer; most verbs are ours

    for point in entry_points(group=group):
        verb = Verb(point.name, _PLUGIN_HELP.get(point.name, f"From {point.module}."), point.value)
        yield point.name, LazyCommand(verb)


class LazyCommand(TyperCommand):
    """Stands for a verb in help; becomes the real one as soon as it is called or completed."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(name=verb.name, callback=None, help=verb.help)
        self._verb = verb

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Load the verb and let it parse the arguments."""
        return load(self._verb).make_context(info_name, args, parent, **extra)


def load(verb: Verb) -> Any:  # Any: Typer's command base is private
    """Import a verb's code and return its command.

    Raises:
        Failed: the code needs a package that is not installed.
    """
    module_name, _, attribute = verb.target.partition(":")
    try:
        found = getattr(import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise Failed(
            f"nordan {verb.name} needs a part that is not installed here ({error.name}).\n"
            "Install the server's parts: pip install 'nordan[server]'"
        ) from error
    if isinstance(found, typer.Typer):
        app = found
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name=verb.name)(found)
    return get_command(app)
