"""What stager and agent are told by their containers' command and environment, and where a pod's folders are.

Read here and not in `nordan_core.settings`, whose machinery takes longer to import than a stager needs to run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOKEN_VARIABLE = "NORDAN_POD_TOKEN"  # noqa: S105  the name of one
"""A secret: arguments can be seen in lists of processes."""


class SettingsMissing(Exception):
    """The command or the environment lacks something; says what."""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """One rank of one attempt, and the way to its region."""

    gateway_url: str
    token: str = field(repr=False)
    attempt_id: str
    rank: int
    control: Path = Path("/nordan/control")
    work: Path = Path("/nordan/work")
    shim: Path = Path("/usr/local/lib/nordan/shim")
    """The shim in this image; the stager copies it to the control folder, where the job's container runs it."""


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> PodSettings:
    """Return the settings from a container's arguments: the gateway's URL, the attempt's id and the rank.

    Raises:
        SettingsMissing: says what is missing or malformed.
    """
    found = os.environ if environment is None else environment
    if len(arguments) != 3 or not all(arguments):
        raise SettingsMissing("a pod is told the gateway's URL, its attempt and its rank")
    gateway_url, attempt_id, rank = arguments
    if not (rank.isascii() and rank.isdecimal()):
        raise SettingsMissing(f"the rank is a number, not {rank}")
    if not found.get(TOKEN_VARIABLE):
        raise SettingsMissing(f"the environment lacks {TOKEN_VARIABLE}; a job's pod sets it")
    places = {
        name: Path(found[variable])
        for name, variable in (
            ("control", "NORDAN_POD_CONTROL_DIR"),
            ("work", "NORDAN_POD_WORK_DIR"),
            ("shim", "NORDAN_POD_SHIM"),
        )
        if found.get(variable)
    }
    return PodSettings(gateway_url.rstrip("/"), found[TOKEN_VARIABLE], attempt_id, int(rank), **places)
