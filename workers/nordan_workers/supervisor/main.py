"""The supervisor's process: settings, the one-per-region lock, signals, and an exit code."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.logs import configure_logs
from nordan_core.settings import RegionSettings, fault_point, load_settings
from nordan_workers.api_client import WorkerApi
from nordan_workers.faults import Faults
from nordan_workers.joining import Joined, read_join_file
from nordan_workers.pulse import Pulse
from nordan_workers.shim.linux import boot_id
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.choosing import choose_executor
from nordan_workers.supervisor.loop import Region, Supervisor
from nordan_workers.supervisor.records import Records

STALE_INCOMING_S = 3600.0


def main() -> int:
    """Run until SIGTERM or SIGINT; 1 with a sentence on standard error when the set-up is at fault."""
    configure_logs("supervisor")
    try:
        settings = load_settings(RegionSettings)
        joined = read_join_file(settings.join_file)
        structlog.contextvars.bind_contextvars(region=joined.region)
        with _only_supervisor(settings.region_dir):
            asyncio.run(_run(settings, joined))
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run(settings: RegionSettings, joined: Joined) -> None:
    clock = SystemClock()
    region_dir = settings.region_dir
    store = RegionStore(region_dir / "store")
    store.clear_incoming(older_than_s=STALE_INCOMING_S, now_s=clock.now().timestamp())
    faults = Faults(fault_point(), region_dir / "run")
    chosen = choose_executor(settings, joined, clock, faults)
    region = Region(
        region_dir=region_dir,
        joined=joined,
        executor=chosen.executor,
        store=store,
        records=Records(region_dir / "records"),
        api=WorkerApi(joined),
        clock=clock,
        faults=faults,
        boot_id=boot_id(),
        pulse=Pulse(settings.pulse_file),
        nodes=chosen.nodes,
        guard=chosen.guard,
    )
    supervisor = Supervisor(region)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    await supervisor.run()


@contextmanager
def _only_supervisor(region_dir: Path) -> Iterator[None]:
    """Hold the region's lock: two supervisors would answer for the same attempts.

    Raises:
        OperatorError: another one runs, or the folder is missing.
    """
    path = region_dir / "run" / "supervisor.lock"
    try:
        path.parent.mkdir(exist_ok=True, mode=0o750)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(f"cannot use the region's folder {region_dir}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise OperatorError(f"another supervisor already serves {region_dir}") from error
    finally:
        os.close(descriptor)
