"""What the person who runs a command brings along: the environment, or the part that processes may have of it.

Used by `up` and by the temporary server. Processes get little: neither the invoker's API key nor whatever else a
shell has gathered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_PREFIX = "NORDAN_"
#: The CLI's own: a login is no business of the servers.
_CLI_ONLY = {"NORDAN_URL", "NORDAN_KEY", "NORDAN_PROJECT", "NORDAN_CONFIG"}
#: Holds a password, perhaps; the control plane's processes are told it, and no region's.
_CONTROL_PLANE_ONLY = {"NORDAN_DATABASE_URL"}
#: Where drivers and libraries are found on machines that keep them in unusual places.
_MACHINE = {"LD_LIBRARY_PATH", "TZ"}


def whole_environment() -> dict[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)  # noqa: TID251  a command that is run for its invoker gets what the invoker has


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part that Nordan's processes may have: settings of theirs, and where libraries lie."""
    return {
        name: value
        for name, value in environment.items()
        if name in _MACHINE or (name.startswith(_PREFIX) and name not in _CLI_ONLY | _CONTROL_PLANE_ONLY)
    }
