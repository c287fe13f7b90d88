"""`nordan up`: the whole stack on this machine, kept running until somebody asks it to stop.

Called by `up_command`. Starts the processes of the other packages and talks to them over their own interfaces only.
Running jobs are no children of ours: their shims go on when the stack stops.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nordan_core.domain.errors import NordanError, OperatorError, Unavailable
from nordan_core.embedded.admin import Admin
from nordan_core.embedded.control import ControlPlane, Stack
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.files import check_free_space, secret_in, write_file
from nordan_core.embedded.gpus import found_gpus
from nordan_core.embedded.jobs import running_ranks, stop_jobs
from nordan_core.embedded.layout import Identities, Layout, check_data_dir
from nordan_core.embedded.lock import data_dir_lock
from nordan_core.embedded.ports import Ports, is_listening
from nordan_core.embedded.postgres import Postgres
from nordan_core.embedded.processes import ProcessTable, run_once, stop_leftovers, wait_until
from nordan_core.embedded.regions import LocalRegion
from nordan_core.embedded.runtime import prepare_runtime
from nordan_core.embedded.stopping import Stopping, StopRequested
from nordan_core.embedded.world import World, choose_world, remember_world, still_unknown

DEFAULT_PORT = 8471
#: Enough for the database's programs and first files and a while of logs, and what a start needs that finds these
#: there. A Python that has to be brought for other users comes on top, by its own measure.
NEEDED_MIB = 256
NEEDED_AGAIN_MIB = 64
#: Less than this is a full disk: a server that ended has most likely met it.
FULL_MIB = 16
TICK_S = 0.2
ROUNDS_PER_RECONCILE = 5
#: While an api that hangs is waited for, nothing that ended is started again.
LOOK_TIMEOUT_S = 1.0
#: A machine that is busy takes ten times as long as an idle one; who has enough of waiting presses Ctrl-C.
START_TIMEOUT_S = 180.0
MIGRATION_TIMEOUT_S = 300.0
PROJECT = "default"
#: Stopped one group after the other: no new work, then reports, then what the reports went to.
_STOP_ORDER = (("worker-", "scheduler-"), ("supervisor-",), ("gateway-",), ("api",), ("valkey-",), ("postgres",))


#: The workspace that a first job runs in; without a floor of its own it gets the template's.
FIRST_PROJECT = {"kind": "Project", "name": "default", "organisation": "home"}


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the invoker asked for."""

    data_dir: Path
    world: Path | None = None
    port: int | None = None
    """0 takes any free port; None the one used last, else the default."""
    stops_jobs: bool = False
    has_standby: bool = True
    database_url: str = ""
    """A PostgreSQL of the invoker's own; empty starts the embedded one."""
    environment: tuple[tuple[str, str], ...] = ()
    """Settings of the invoker's own for all processes."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a person needs to use the stack."""

    url: str
    admin_key: str
    project: str
    regions: tuple[str, ...]
    data_dir: Path


class Reporter(Protocol):
    """Shows what happens. Calls return soon and never raise."""

    def step(self, text: str) -> None:
        """Say what is being done now."""
        ...

    def note(self, text: str) -> None:
        """Say something that stays worth knowing."""
        ...

    def ready(self, ready: Ready) -> None:
        """Say that the stack can be used."""
        ...


def run_up(options: UpOptions, reporter: Reporter, stopping: Stopping) -> None:
    """Start the stack, keep it running, and stop it in order when asked or when it cannot be started.

    Raises:
        OperatorError: it cannot be started here; nothing is left running.
        OSError: the file system refuses; nothing is left running.
    """
    layout = Layout(check_data_dir(options.data_dir))
    identities = Identities.of_this_process(layout.data)
    prepare_data_dir(layout, identities)
    with data_dir_lock(layout.lock):
        try:
            _Up(options, reporter, stopping, layout, identities).run()
        except (OperatorError, OSError):
            # Whatever failed on a full disk failed because of it.
            check_free_space(layout.data, FULL_MIB)
            raise


class _Up:
    """One run, from the first check to the last process."""

    def __init__(
        self, options: UpOptions, reporter: Reporter, stopping: Stopping, layout: Layout, identities: Identities
    ) -> None:
        self._options = options
        self._reporter = reporter
        self._stopping = stopping
        self._layout = layout
        self._identities = identities
        self._table = ProcessTable(layout.processes)
        self._ports = Ports(layout.ports, identities.operator)
        self._regions: dict[str, LocalRegion] = {}
        self._told: dict[str, str] = {}

    def run(self) -> None:
        # Read first: a mistake in the file should cost no start.
        world = choose_world(self._options.world, self._layout, found_gpus())
        try:
            control = self._start_control_plane()
            with _admin(control, self._layout) as admin:
                self._apply_world(admin, world)
                self._reconcile(control.stack, admin, is_first=True)
                self._say_ready(control)
                self._keep_running(control.stack, admin)
        except StopRequested:
            pass
        finally:
            self._stop()

    def _start_control_plane(self) -> ControlPlane:
        """Start database, api and schedulers, each when what it needs answers."""
        # 1. Whatever can be wrong with this machine, before anything runs.
        if left := stop_leftovers(self._layout.processes):
            self._reporter.note(f"Stopped what an earlier run left behind: {', '.join(left)}.")
        port = self._api_port()
        # 2. A Python for everybody, and room for it and the rest.
        self._reporter.step("Preparing the runtime")
        needed_mib = NEEDED_AGAIN_MIB if self._layout.admin_key.exists() else NEEDED_MIB
        with self._stopping.at_once():
            runtime = prepare_runtime(self._layout, self._identities, needed_mib)
        stack = Stack(self._layout, self._identities, runtime, dict(self._options.environment))
        # 3. The database, and its schema.
        database_url = self._options.database_url or self._start_database()
        if self._options.database_url:
            self._reporter.note("Using the database that DATABASE_URL names instead of an embedded one.")
        schedulers = ("scheduler-1", "scheduler-2") if self._options.has_standby else ("scheduler-1",)
        control = ControlPlane(
            stack,
            database_url,
            has_own_database=not self._options.database_url,
            api_port=port,
            scheduler_ports=tuple(self._ports.take(name) for name in schedulers),
        )
        self._reporter.step("Bringing the schema up to date")
        run_once(control.migrate(), MIGRATION_TIMEOUT_S)
        # 4. Keys, and the first organisation, project and API key.
        for key in (self._layout.grant_key, self._layout.certificate_key):
            if not key.exists():
                run_once(control.create_key(key.name))
        for secret in (self._layout.scheduler_secret, self._layout.sealing_key):
            secret_in(secret, self._identities.control)
        self._layout.former_brokers.unlink(missing_ok=True)
        if not self._layout.admin_key.exists():
            self._reporter.step("Creating the first organisation")
            run_once(control.bootstrap())
        # 5. api and schedulers.
        self._reporter.step("Starting api and scheduler")
        api = self._table.ensure(control.api())
        for number in range(1, len(schedulers) + 1):
            self._table.ensure(control.scheduler(number))
        with _admin(control, self._layout) as admin:
            wait_until(api, admin.answers, START_TIMEOUT_S, self._stopping.pause)
        return control

    def _api_port(self) -> int:
        """Return the port that was asked for, else the one used last, else the default, or refuse when it is taken."""
        asked, kept = self._options.port, self._ports.kept("api")
        if asked == 0:
            return self._ports.take("api")
        return self._ports.take_exactly("api", asked or kept or DEFAULT_PORT)

    def _start_database(self) -> str:
        self._reporter.step("Starting PostgreSQL")
        server = Postgres(self._layout, self._identities)
        server.prepare()
        server.clear_the_way()
        wait_until(self._table.ensure(server.spec()), server.answers, START_TIMEOUT_S, self._stopping.pause)
        server.ensure_database()
        return server.url

    def _apply_world(self, admin: Admin, world: World) -> None:
        self._reporter.step("Applying the world")
        documents = world.documents
        if self._options.world is None:
            documents = still_unknown(documents, admin.places())
        admin.apply([*documents, FIRST_PROJECT])
        remember_world(self._options.world, self._layout, self._identities.operator)
        self._reporter.note(world.gpus)
        if not self._identities.is_root:
            self._reporter.note(
                "Not root: jobs cannot be kept apart, so the pools offer `tenancy: single` and serve one organisation."
            )

    def _reconcile(self, stack: Stack, admin: Admin, *, is_first: bool = False) -> None:
        """Start what a region lacks. At the first time trouble is raised; later it is told once and tried again."""
        known = admin.local_regions() if is_first else admin.local_regions(LOOK_TIMEOUT_S)
        new = [code for code in known if code not in self._regions]
        for code in new:
            try:
                self._start_region(stack, admin, code)
            except NordanError as error:
                if is_first:
                    raise
                self._tell_once(code, f"Region {code} cannot be started: {error}")
        for code in new if is_first else ():
            self._wait_for_gateway(self._regions[code])

    def _reconcile_later(self, stack: Stack, admin: Admin) -> None:
        """Look for new regions; whatever is in the way must not end a stack on which jobs run."""
        try:
            self._reconcile(stack, admin)
        except Unavailable:
            pass  # an api that is just being started again is asked in the next round
        except (OperatorError, OSError) as error:
            self._tell_once("regions", f"New regions are not started: {error}")

    def _start_region(self, stack: Stack, admin: Admin, code: str) -> None:
        self._reporter.step(f"Starting region {code}")
        region = LocalRegion.prepare(stack, code, self._ports)
        broker = region.broker()
        broker.prepare()
        wait_until(self._table.ensure(broker.spec()), broker.answers, START_TIMEOUT_S, self._stopping.pause)
        region.join(admin)
        for spec in region.processes():
            self._table.ensure(spec)
        self._regions[code] = region

    def _wait_for_gateway(self, region: LocalRegion) -> None:
        gateway = self._table.get(f"gateway-{region.code}")
        if gateway:
            wait_until(gateway, lambda: is_listening(region.gateway_port), START_TIMEOUT_S, self._stopping.pause)

    def _say_ready(self, control: ControlPlane) -> None:
        status = {"pid": os.getpid(), "url": control.api_url}
        write_file(self._layout.status, json.dumps(status), self._identities.operator)
        self._reporter.ready(
            Ready(
                url=control.api_url,
                admin_key=self._layout.admin_key.read_text().strip(),
                project=PROJECT,
                regions=tuple(self._regions),
                data_dir=self._layout.data,
            )
        )

    def _keep_running(self, stack: Stack, admin: Admin) -> None:
        """Look after the processes until somebody asks to stop, which ends this by StopRequested."""
        rounds = 0
        try:
            while True:
                self._stopping.pause(TICK_S)
                self._table.tick()
                self._tell_of_restarts()
                rounds += 1
                if rounds % ROUNDS_PER_RECONCILE == 0:
                    self._reconcile_later(stack, admin)
        except StopRequested:
            self._stop_jobs_if_asked(admin)
            raise

    def _tell_of_restarts(self) -> None:
        for name in self._table.names():
            process = self._table.get(name)
            if process and process.restarts:
                hint = "" if process.restarts == 1 else f" ({process.restarts} times now; see {process.spec.log})"
                self._tell_once(f"{name} {process.restarts}", f"{name} ended and was started again{hint}.")

    def _tell_once(self, subject: str, text: str) -> None:
        if self._told.get(subject) != text:
            self._told[subject] = text
            self._reporter.note(text)

    def _stop_jobs_if_asked(self, admin: Admin) -> None:
        if self._options.stops_jobs:
            self._reporter.step("Stopping jobs")
            # Or what waits in the queue would begin where something has just been stopped.
            self._table.stop([name for name in self._table.names() if name.startswith("scheduler-")])
            stop_jobs(self._layout, admin)

    def _stop(self) -> None:
        if self._table.names():
            self._reporter.step("Stopping")
        self._layout.status.unlink(missing_ok=True)
        for prefixes in _STOP_ORDER:
            self._table.stop([name for name in self._table.names() if name.startswith(prefixes)])
        if running := len(running_ranks(self._layout)):
            subject = "1 process of a job goes" if running == 1 else f"{running} processes of jobs go"
            self._reporter.note(f"{subject} on until the grant ends, unless `nordan up` is back before that.")


@contextmanager
def _admin(control: ControlPlane, layout: Layout) -> Iterator[Admin]:
    admin = Admin(control.api_url, layout.admin_key.read_text().strip())
    try:
        yield admin
    finally:
        admin.close()
