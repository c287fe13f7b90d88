"""What a job's processes find in their environment: the job's variables, Nordan's, a path, nothing inherited."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection

from nordan_core.wire import LaunchOrder, RankOrder
from nordan_workers.executors.base import RankFolders, WorkFolders
from nordan_workers.executors.folders import temporary_folder

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
#: Every rank of a local attempt runs on this machine.
MASTER_ADDR = "127.0.0.1"
_TRIES = 100


def rank_environment(
    order: LaunchOrder,
    folders: WorkFolders,
    rank: RankOrder,
    *,
    devices: str,
    master_port: int,
    service_port: int | None,
    job_path: str,
) -> dict[str, str]:
    """Return the whole environment of one rank.

    HOME, TMPDIR and PATH may be set by the job; Nordan's own names may not, since programs rely on them.
    """
    own = next(one for one in folders.ranks if one.rank == rank.rank)
    environment = {
        "PATH": f"{job_path}:{SYSTEM_PATH}" if job_path else SYSTEM_PATH,
        "HOME": str(own.cwd),
        "TMPDIR": str(temporary_folder(folders)),
        **order.env,
        **_folders_of(own, folders),
        "NORDAN_JOB": order.job_id,
        "NORDAN_ATTEMPT": order.attempt_id,
        "NORDAN_FENCE": str(order.fence),
        "NORDAN_NODE_RANK": str(rank.rank),
        "NORDAN_NODES": str(len(order.ranks)),
        "NORDAN_GPUS": str(order.gpus_per_rank),
        "MASTER_ADDR": MASTER_ADDR,
        "MASTER_PORT": str(master_port),
        "CUDA_VISIBLE_DEVICES": devices,
    }
    if service_port is not None:
        # Only the region's gateway calls a replica, and it is on this machine.
        environment |= {"NORDAN_HOST": MASTER_ADDR, "NORDAN_PORT": str(service_port)}
    return environment


def free_port(promised: Collection[int], wanted: int | None = None) -> int:
    """Return a port on 127.0.0.1 that nobody listens on now: the wanted one if it is free, else any.

    `promised` are ports of attempts that may not listen yet. Nothing else holds a port until the program binds it; the
    kernel hands them out in random order, which makes a clash rare, and a program that loses one fails and is tried
    again.

    Raises:
        OSError: none is free.
    """
    for port in (wanted, *[0] * _TRIES) if wanted and wanted not in promised else [0] * _TRIES:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: connections that linger from an earlier replica do not make the port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((MASTER_ADDR, port))
                found: int = probe.getsockname()[1]
                if found not in promised:
                    return found
    raise OSError(errno.EADDRINUSE, "no port is free on 127.0.0.1")


def _folders_of(own: RankFolders, folders: WorkFolders) -> dict[str, str]:
    return {
        "NORDAN_INPUT_DIR": str(folders.inputs),
        "NORDAN_CHECKPOINT_DIR": str(own.checkpoints),
        "NORDAN_OUTPUT_DIR": str(own.outputs),
    }
