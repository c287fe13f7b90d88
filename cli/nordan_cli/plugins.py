"""Groups to which other packages add commands, as `nordan admin pools import` is of the package that knows clusters.

A package names its command as an entry point of `nordan.commands.<group>`; it is loaded when it is used, as verbs are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperGroup

from nordan_cli.verbs import ENTRY_POINTS, LazyCommand, Verb


class PluginGroup(TyperGroup):
    """A group with commands of ours, and those that other packages bring."""

    entry_points = ""
    """What stands behind `nordan.commands.` in the name of its entry points."""
    plugin_help: ClassVar[Mapping[str, str]] = {}
    """What help says of plug-ins that we know; asking them would import the server."""

    def list_commands(self, ctx: Any) -> list[str]:  # Any: Typer's context base is private
        """Return our commands in the order of help, then the plug-ins."""
        del ctx
        return list(self._with_plugins())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of ours, or a stand-in for a plug-in's."""
        del ctx
        return self.commands.get(cmd_name) or self._with_plugins().get(cmd_name)

    def _with_plugins(self) -> Mapping[str, Any]:
        from importlib.metadata import entry_points  # noqa: PLC0415  costs as much as all of Typer

        for point in entry_points(group=f"{ENTRY_POINTS}.{self.entry_points}"):
            verb = Verb(point.name, self.plugin_help.get(point.name, f"From {point.module}."), point.value)
            self.commands.setdefault(point.name, LazyCommand(verb))
        return self.commands


class PoolsGroup(PluginGroup):
    """`nordan admin pools`."""

    entry_points = "admin.pools"
    plugin_help: ClassVar[Mapping[str, str]] = {"import": "Describe pools by the nodes of a cluster."}
