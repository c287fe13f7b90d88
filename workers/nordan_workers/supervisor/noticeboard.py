"""What the supervisor tells the gateway, through files: fenced objects, ready replicas, keys, logs that are complete.

`fences.json`, `services.json` and `successions.json` lie in the region's folder, replaced by rename;
`logs/<attempt>/ended` appears when nothing more will be written there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nordan_workers.executors.base import Address
from nordan_workers.files import give_to_folder_owner, replace_file

FENCES = "fences.json"
SERVICES = "services.json"
SUCCESSIONS = "successions.json"
ENDED = "ended"


class Noticeboard:
    """Writes only what has changed."""

    def __init__(self, region_dir: Path) -> None:
        self._region_dir = region_dir
        self._written: dict[str, bytes] = {}

    def fences(self, objects: Iterable[str]) -> None:
        """Tell which objects must not be read."""
        self._write(FENCES, {"objects": sorted(set(objects))})

    def successions(self, statements: Sequence[Mapping[str, object]]) -> None:
        """Tell how the control plane's keys followed each other; whoever reads it checks that by itself."""
        if statements:
            self._write(SUCCESSIONS, {"statements": list(statements)})

    def earlier_successions(self) -> tuple[Mapping[str, object], ...]:
        """Return what an earlier incarnation was told of keys; nothing where that cannot be read."""
        try:
            found = json.loads((self._region_dir / SUCCESSIONS).read_bytes())["statements"]
        except (OSError, ValueError, LookupError, TypeError):
            return ()
        return tuple(one for one in found if isinstance(one, dict)) if isinstance(found, list) else ()

    def services(self, replicas: Iterable[tuple[str, str, Address]]) -> None:
        """Tell which replicas are ready: job, attempt and where each serves."""
        services: dict[str, list[dict[str, object]]] = {}
        for job_id, attempt_id, address in sorted(replicas, key=lambda one: one[:2]):
            replica = {"attempt_id": attempt_id, "host": address.host, "port": address.port}
            services.setdefault(job_id, []).append(replica)
        self._write(SERVICES, {"services": services})

    def logs_are_complete(self, attempt_id: str) -> None:
        """Tell that an attempt's logs have been written to the end."""
        logs = self._region_dir / "logs"
        folder = logs / attempt_id
        # The gateway makes it too, when a pod's first piece comes.
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o750, parents=True)
            give_to_folder_owner(folder, logs)
        (folder / ENDED).touch(mode=0o640)

    def _write(self, name: str, document: object) -> None:
        data = json.dumps(document, sort_keys=True).encode()
        if self._written.get(name) != data:
            replace_file(self._region_dir / name, data, mode=0o640)
            self._written[name] = data
