"""A region's Celery worker: `python -m nordan_workers.app`. It takes nudges off the broker and does nothing else.

Everything comes from the environment and the join file; the arguments of the process say nothing about a tenant.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from celery import Celery
from celery.exceptions import SecurityWarning

from nordan_core.domain.errors import OperatorError
from nordan_core.logs import configure_logs
from nordan_core.queue import celery_app
from nordan_core.settings import RegionSettings, load_settings
from nordan_workers import tasks
from nordan_workers.broker import beating, patient_connection
from nordan_workers.handover import SUPERVISOR_SOCKET
from nordan_workers.joining import read_join_file
from nordan_workers.pulse import Pulse


def worker_app(broker_url: str, run_folder: Path, pulse: Pulse) -> Celery:
    """Return the Celery application of one region's worker, with the gate in front of it."""
    app = celery_app(broker_url)
    app.conf.broker_transport = "nordan_workers.broker:GatedTransport"
    app.amqp.Connection = patient_connection(pulse.beat)
    app.steps["consumer"].add(beating(pulse.beat))
    tasks.register(app, run_folder / SUPERVISOR_SOCKET)
    return app


def main() -> int:
    """Run the worker until it is told to stop; 1 with a sentence on standard error when its set-up is at fault."""
    configure_logs("celery")
    try:
        settings = load_settings(RegionSettings)
        joined = read_join_file(settings.join_file)
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    # A region's user is a bare number without a name, which Celery mistakes for root.
    warnings.simplefilter("ignore", SecurityWarning)
    app = worker_app(joined.broker_url, settings.region_dir / "run", Pulse(settings.pulse_file))
    options = ("--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")
    app.worker_main(["--quiet", "worker", *options, f"--hostname={joined.region}@nordan"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
