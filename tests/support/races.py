"""Law that changes while somebody acts on it, with real processes, many times: api, cycle and PostgreSQL each its own.

A policy forbids what an owner of all pools may become from one moment to the next. The sale goes through the api while
the cycle is between plan and apply, or while a region redeems. Afterwards PostgreSQL's own commit times say who came
first: an act that committed after a change must carry that change's epoch, and none may carry one that forbids it.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, create_engine, text

from nordan_api.bootstrap import BootstrapSettings, bootstrap
from nordan_core.domain.ids import JobId
from nordan_core.domain.states import AttemptResult
from nordan_core.embedded.temporary import temporary_postgres
from nordan_core.identifiers import new_secret
from nordan_core.proof.keys import SigningKey
from nordan_core.store.migrate import upgrade
from support.cell import FR, Cell
from support.region_side import asking

FREE: dict[str, object] = {"forbid_exposure": ["US"]}
OWNER = {"owner": "larkspur", "capital_percent": 100, "votes_percent": 100, "control": "veto"}
FRENCH: dict[str, Any] = {"kind": "Entity", "name": "auvergne-calcul", "seat": "FR", "presences": [], "owners": []}
BOUGHT: dict[str, Any] = {**FRENCH, "owners": [OWNER]}
WORLD: list[Mapping[str, Any]] = [
    {"kind": "Entity", "name": "caisse", "seat": "FR", "presences": [], "owners": []},
    {"kind": "Entity", "name": "larkspur", "seat": "US", "presences": [], "owners": []},
    {"kind": "ControlPlane", "territory": "FR", "operator": "caisse"},
]
#: Seconds by which the two may be apart.
SPREAD_S = 0.012
#: What each change of law made lawful, noted in its own transaction.
_NOTES = """
create table race_step (epoch bigint, is_bought boolean);
create function note_step() returns trigger language plpgsql as $$ begin
    insert into race_step select new.epoch, jsonb_array_length(document -> 'owners') > 0
    from entity where name = 'auvergne-calcul';
    return null;
end $$;
create trigger note_step after update on residency_epoch for each row execute function note_step();
"""
#: Grants and redemptions with the epoch that they carry, the newest that was committed before them, and its law.
_ACTS = """
    with step as (select epoch, is_bought, pg_xact_commit_timestamp(xmin) as at from race_step),
    acts as (
        select act, pg_xact_commit_timestamp(xmin) as at,
               coalesce(body ->> 'epoch', body -> 'verdict' ->> 'epoch')::bigint as epoch
        from audit_entry where act in ('grant_issued', 'grant_redeemed')
    )
    select a.act, a.epoch, s.epoch as newest, s.is_bought
    from acts a cross join lateral (
        select epoch, is_bought from step where step.at < a.at order by step.at desc limit 1
    ) s
"""


@dataclass
class Races:
    """Two real processes over one database, and what became of each race."""

    cell: Cell
    engine: Engine
    api: httpx.Client
    region: httpx.Client
    planner: subprocess.Popen[str]
    chance: random.Random
    tally: Counter[str] = field(default_factory=Counter)
    sale_took_s: float = SPREAD_S
    """A change of law through the api, as it was of late."""
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def between_plan_and_apply(self) -> None:
        """Sell all pools while the cycle holds a plan that puts a job there."""
        [job] = self.cell.submit(policy=FREE)
        # As far apart as a sale takes on this machine, so that either may come first.
        self._tell(self.chance.random() * 2 * self.sale_took_s)
        self._hear("planned")
        time.sleep(self.chance.random() * SPREAD_S)
        self._apply(BOUGHT)
        placed = self._hear("placed")
        self.tally[f"plan and apply: {'placed before the sale' if placed == 'placed 1' else 'dropped'}"] += 1
        self._clear(job)

    def between_apply_and_redeem(self) -> None:
        """Sell all pools while a region redeems the grant of a job that was put there."""
        [job] = self.cell.submit(policy=FREE)
        self._tell(0.0)
        self._hear("planned")
        assert self._hear("placed") == "placed 1"
        [(grant, _)] = self.cell.grants()
        sale_s, redeem_s = self.chance.random() * 2 * SPREAD_S, self.chance.random() * SPREAD_S
        sale = self._threads.submit(self._after, sale_s, self._apply, BOUGHT)
        answer = self._threads.submit(self._after, redeem_s, self._redeem, grant)
        sale.result()
        self.tally[f"apply and redeem: {answer.result()}"] += 1
        self._clear(job)

    def violations(self) -> list[tuple[Any, ...]]:
        """Return acts that committed after a change of law under an older one, or under one that forbids them."""
        with self.engine.begin() as connection:
            rows = [tuple(row) for row in connection.execute(text(_ACTS))]
        return [row for row in rows if row[1] != row[2] or row[3]]

    def acts(self) -> int:
        """Return how many grants and redemptions there were."""
        with self.engine.begin() as connection:
            return len(connection.execute(text(_ACTS)).all())

    def _clear(self, job: JobId) -> None:
        if self.cell.rows("select id from attempt where job_id = :job and state <> 'ended'", job=job):
            self.cell.end(job, AttemptResult.CANCELLED)
        self.cell.run("update job set cancel_requested_at = now() where id = :job", job=job)
        self._apply(FRENCH)

    def _after(self, seconds: float, act: Any, *words: Any) -> Any:
        time.sleep(seconds)
        return act(*words)

    def _apply(self, document: dict[str, Any]) -> None:
        began = time.monotonic()
        self.api.post("/v1/admin:apply", json={"documents": [document]}).raise_for_status()
        self.sale_took_s = (self.sale_took_s + time.monotonic() - began) / 2

    def _redeem(self, grant: str) -> str:
        item = {"grant_id": grant, "redemption_id": f"{self.chance.getrandbits(128):032x}"}
        answer = self.region.post("/worker/v1/grants:redeem", json=asking(item))
        answer.raise_for_status()
        outcome: str = answer.json()["items"][0]["outcome"]
        return outcome

    def _tell(self, seconds: float) -> None:
        assert self.planner.stdin is not None
        self.planner.stdin.write(f"{seconds}\n")
        self.planner.stdin.flush()

    def _hear(self, word: str) -> str:
        assert self.planner.stdout is not None
        line = self.planner.stdout.readline().strip()
        assert line.startswith(word), f"the planner said {line!r} instead of {word!r}"
        return line


@contextmanager
def races(folder: Path, seed: int = 1) -> Iterator[Races]:
    """Start PostgreSQL with commit times, an api and a planner; all end with the block."""
    with temporary_postgres("track_commit_timestamp=on") as plain:
        url = plain.replace("postgresql://", "postgresql+psycopg://", 1)
        upgrade(url)
        engine = create_engine(url)
        cell = Cell.create(engine)
        cell.apply(WORLD)
        with engine.begin() as connection:
            connection.exec_driver_sql(_NOTES)
        with _api(plain, folder, cell) as (api, region), _planner(url) as planner:
            found = Races(cell, engine, api, region, planner, random.Random(seed))
            found._apply({**FRENCH, "legal_name": "Auvergne"})
            yield found
        engine.dispose()


@contextmanager
def _api(url: str, folder: Path, cell: Cell) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    SigningKey.create().save(folder / "grant.key")
    (folder / "sealing-key").write_text(new_secret("test"))
    bootstrap(cell.store, BootstrapSettings(admin_key_file=folder / "admin-key", admin_territory="FR"))
    port = _free_port()
    environment = {
        "NORDAN_DATABASE_URL": url,
        "NORDAN_GRANT_KEY_FILE": str(folder / "grant.key"),
        "NORDAN_SEALING_KEY_FILE": str(folder / "sealing-key"),
        "NORDAN_API_PORT": str(port),
    }
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "nordan_api"], env=environment, stderr=log, stdout=log)
    base, key = f"http://127.0.0.1:{port}", (folder / "admin-key").read_text().strip()
    api = httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=30)
    try:
        _wait(api, process, folder / "api.log")
        body = {"gateway_url": "http://127.0.0.1:1/fr", "broker_url": "redis://127.0.0.1:1/0"}
        credential = api.post(f"/v1/regions/{FR}:join", json=body).raise_for_status().json()["credential"]
        headers = {"Authorization": f"Bearer {credential}"}
        with httpx.Client(base_url=base, headers=headers, timeout=30) as region:
            yield api, region
    finally:
        api.close()
        process.terminate()
        process.wait(15)


def _wait(api: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if api.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)


@contextmanager
def _planner(url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("race_planner.py")), url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(15)
        assert process.stdout is not None
        process.stdout.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
