"""The scheduler process: builds its parts, runs their threads, ends cleanly on SIGTERM and loudly when a thread dies.

Leader and standby run the same threads; those of the leader do nothing until the lead is won.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from nordan_core.atlases import AtlasShelf
from nordan_core.clock import Clock, SystemClock
from nordan_core.domain.errors import NordanError, OperatorError
from nordan_core.facts import FactsCache
from nordan_core.logs import configure_logs
from nordan_core.proof.rotation import KeyFiles
from nordan_core.sealing import SealingKey
from nordan_core.settings import DatabaseSettings, SchedulerSettings, load_settings, read_secret, stop_point
from nordan_core.store.database import open_engine
from nordan_core.store.unit_of_work import LAW, QUEUE, Store
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.cycle import Cycle, CycleStep
from nordan_scheduler.faults import Faults
from nordan_scheduler.fencer import Fencer
from nordan_scheduler.leader import Leader
from nordan_scheduler.listener import listen
from nordan_scheduler.load import Loader
from nordan_scheduler.loops import Crew, LeaderLoop, Step
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.port import Answers, build_port
from nordan_scheduler.reaper import Reaper
from nordan_scheduler.relay import Relay
from nordan_scheduler.sealer import Sealer

_log = structlog.get_logger()
#: Shorter than in other processes: a leader that was stopped in a transaction must not keep its successor waiting.
IDLE_IN_TRANSACTION_S = 2.0
STOP_S = 5.0
#: A step that takes longer hangs: no statement may take a tenth of it.
STUCK_S = 240.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the threads share."""

    clock: Clock
    store: Store
    leader: Leader
    crew: Crew
    metrics: Metrics
    facts: FactsCache


class Scheduler:
    """One scheduler process."""

    def __init__(self, settings: SchedulerSettings, database: DatabaseSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._database_url = database.sqlalchemy_url()
        self._keys = KeyFiles(settings.certificate_key_file)
        self._keys.held()  # a key that cannot be used is a set-up at fault, and told at once
        self._sealing_key = SealingKey.load(settings.sealing_key_file)
        secret_file = settings.scheduler_secret_file
        self._secret = read_secret(secret_file) if secret_file is not None else ""
        clock = clock or SystemClock()
        store = Store(open_engine(database, idle_in_transaction_s=IDLE_IN_TRANSACTION_S))
        # A connection of its own, so that renewals never wait behind the work.
        alone = database.model_copy(update={"database_pool_size": 1})
        self._lead_store = Store(open_engine(alone, idle_in_transaction_s=IDLE_IN_TRANSACTION_S))
        leader = Leader(self._lead_store, clock, settings.lease_s)
        self._parts = Parts(clock, store, leader, Crew(), Metrics(), FactsCache(AtlasShelf()))
        self._last_cycle_at: float | None = None
        self._busy_since: dict[str, float] = {}
        self._server: uvicorn.Server | None = None

    def run(self) -> int:
        """Run until SIGTERM or SIGINT and return the exit code: 1 when a thread died."""
        crew = self._parts.crew
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._start()
        _log.info("scheduler_started", port=self._settings.scheduler_port)
        while not crew.stopping.wait(0.5):
            pass
        self._stop()
        return 1 if crew.failed.is_set() else 0

    def _start(self) -> None:
        parts = self._parts
        # 1. The lead.
        parts.crew.start("leadership", self._keep_lead)
        # 2. The relay, which the cycle wakes.
        relay = Relay(
            parts.store,
            self._sealing_key,
            parts.leader,
            start=parts.crew.start,
            stopping=parts.crew.stopping,
        )
        self._lead("relay", relay.step)
        # 3. The cycle, which commits wake.
        faults = Faults(stop_point())
        cycle = Cycle(
            parts.store, parts.clock, self._loader(), wake_regions=relay.wake, metrics=parts.metrics, faults=faults
        )
        step = CycleStep(cycle, parts.clock, self._settings.cycle_idle_s, parts.crew.stopping.wait)
        loop = self._lead("cycle", step)
        # 4. What is there already is judged again whenever law moves.
        fencer = Fencer(parts.store, parts.clock, parts.facts, parts.metrics)
        wakes = {QUEUE: loop.wake, LAW: self._lead("fencer", fencer.step).wake}
        parts.crew.start("listener", lambda: listen(self._database_url, wakes, parts.crew.stopping))
        # 5. Sealer and reaper.
        certifier = Certifier(parts.store, parts.facts)
        sealer = Sealer(parts.store, parts.clock, self._keys.held, certifier=certifier, metrics=parts.metrics)
        self._lead("sealer", sealer.step)
        self._lead("reaper", Reaper(parts.store, parts.clock, parts.metrics).step)
        # 6. The port, which answers on a standby too.
        answers = Answers(parts.store, parts.clock, self._loader())
        app = build_port(answers, parts.metrics, health=self.health, secret=self._secret)
        parts.crew.start("port", lambda: self._serve(app))

    def _lead(self, name: str, step: Step) -> LeaderLoop:
        loop = LeaderLoop(name, self._watched(name, step), self._parts.leader, self._parts.crew.stopping)
        self._parts.crew.start(name, loop.run)
        return loop

    def _loader(self) -> Loader:
        return Loader(self._parts.store, self._parts.clock, self._parts.facts)

    def health(self) -> dict[str, Any]:  # Any: JSON
        """Return whether this process leads, how long ago its last cycle ended, and which of its steps do not end."""
        last, now = self._last_cycle_at, self._parts.clock.monotonic()
        return {
            "leader": self._parts.leader.epoch() is not None,
            "last_cycle_age_s": None if last is None else round(now - last, 3),
            "stuck": sorted(name for name, since in list(self._busy_since.items()) if now - since > STUCK_S),
        }

    def _watched(self, name: str, step: Step) -> Step:
        def run(epoch: int) -> float:
            self._busy_since[name] = self._parts.clock.monotonic()
            try:
                pause_s = step(epoch)
            finally:
                ended = self._parts.clock.monotonic()
                del self._busy_since[name]
            if name == "cycle":
                self._last_cycle_at = ended
            return pause_s

        return run

    def _keep_lead(self) -> None:
        leader, stopping = self._parts.leader, self._parts.crew.stopping
        while not stopping.is_set():
            leader.keep()
            stopping.wait(leader.interval_s)

    def _serve(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            host=self._settings.scheduler_host,
            port=self._settings.scheduler_port,
            log_config=None,
            access_log=False,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        try:
            self._server.run()
        except SystemExit as error:
            raise OperatorError(f"cannot listen on {config.host}:{config.port}") from error

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._parts.crew.stopping.set()

    def _stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._parts.crew.stop(STOP_S)
        # After the leader's loops have ended, so that nothing of ours follows the hand-over.
        self._parts.leader.resign()
        self._lead_store.close()
        self._parts.store.close()
        _log.info("scheduler_stopped")


def main() -> int:
    """Run from the command line; settings come from the environment."""
    configure_logs("scheduler")
    try:
        return Scheduler(load_settings(SchedulerSettings), load_settings(DatabaseSettings)).run()
    except NordanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
