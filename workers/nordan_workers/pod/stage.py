"""The stager: an init container that lays what the region has for a rank, before anything of the job runs.

It copies the static helper, makes the folders that the job's container mounts, takes the archive of inputs, job files
and checkpoint, notes which checkpoints were laid (they are not to be sent back), and has the first word with the
gateway, so that a deadline stands before the job's container starts. Away or half-answered, it tries again; killed, it
begins anew.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from nordan_workers.pod.archive import ArchiveRefused, Limits, Reader
from nordan_workers.pod.client import TRANSFER_TIMEOUT_S, Away, Client
from nordan_workers.pod.control import Control
from nordan_workers.pod.folders import MAX_FILES, Laying, remove
from nordan_workers.pod.settings import PodSettings
from nordan_workers.pod.shipping import finished
from nordan_workers.pod.syncing import WAITING, sync

#: Folders of the work volume; the job's container mounts each by itself.
FOLDERS = ("inputs", "rank", "checkpoints", "outputs", "tmp", "log")
LAID = "laid.json"
RETRY_S = 0.5
MOST_RETRY_S = 5.0
#: Many inputs of many files each.
_LIMITS = Limits(total_bytes=1 << 50, members=64 * MAX_FILES)
_CHUNK_BYTES = 1 << 18


def stage(settings: PodSettings) -> None:
    """Lay everything and give the word to start.

    Raises:
        Refused: the region refuses for good.
        OSError: the volume refuses.
    """
    control = Control(settings.control)
    control.place_shim(settings.shim)
    control.place_lock()
    client = Client(settings, TRANSFER_TIMEOUT_S)
    pause_s = RETRY_S
    while True:
        try:
            _lay(client, settings.work)
            _note_laid(settings)
            sync(client, control, WAITING)
        except (Away, ArchiveRefused) as error:
            sys.stderr.write(f"[nordan] not staged yet: {error}\n")
            time.sleep(pause_s)
            pause_s = min(MOST_RETRY_S, pause_s * 2)
        else:
            return


def _lay(client: Client, work: Path) -> None:
    incoming = work / ".incoming"
    remove(incoming)
    incoming.mkdir(mode=0o755)
    laying = Laying(incoming)
    reader = Reader(laying, _LIMITS)
    with client.stream(f"{client.rank_path}/stage") as answer:
        while piece := answer.read(_CHUNK_BYTES):
            reader.feed(piece)
    reader.finish()
    laying.complete()
    for name in FOLDERS:
        target = work / name
        remove(target)
        laid = incoming / name
        if laid.is_dir():
            laid.rename(target)
        else:
            target.mkdir()
        # A folder is read-only to the job by its mount; here the next try must be able to replace it.
        target.chmod(0o755 if name == "inputs" else 0o700)
    remove(incoming)


def _note_laid(settings: PodSettings) -> None:
    (settings.control / LAID).write_text(json.dumps(dict(finished(settings.work / "checkpoints"))))
