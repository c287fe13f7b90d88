"""What stager and agent are told by their containers' environment, and where a pod's folders are.

Read here and not in `nordan_core.settings`, whose machinery takes longer to import than a stager needs to run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsMissing(Exception):
    """The environment lacks something; says what."""


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


def read_settings(environment: Mapping[str, str] | None = None) -> PodSettings:
    """Return the settings.

    Raises:
        SettingsMissing: names every variable that is missing or malformed.
    """
    found = os.environ if environment is None else environment
    names = {name: f"NORDAN_POD_{name}" for name in ("GATEWAY_URL", "TOKEN", "ATTEMPT", "RANK")}
    missing = [variable for variable in names.values() if not found.get(variable)]
    rank = found.get(names["RANK"], "")
    if rank and not (rank.isascii() and rank.isdecimal()):
        missing.append(f"{names['RANK']} (a number)")
    if missing:
        raise SettingsMissing(f"the environment lacks {', '.join(missing)}; a job's pod sets them")
    places = {
        name: Path(found[variable])
        for name, variable in (
            ("control", "NORDAN_POD_CONTROL_DIR"),
            ("work", "NORDAN_POD_WORK_DIR"),
            ("shim", "NORDAN_POD_SHIM"),
        )
        if found.get(variable)
    }
    return PodSettings(
        gateway_url=found[names["GATEWAY_URL"]].rstrip("/"),
        token=found[names["TOKEN"]],
        attempt_id=found[names["ATTEMPT"]],
        rank=int(rank),
        **places,
    )
