"""A whole control plane in the test's process: the real app, the scheduler's parts, four regions, one clock.

Served once per test run; `Lab` gives each test the same fresh world by putting the rows back. Nothing runs by itself:
a test says when the cycle, the reaper and the sealer take a step, and when time passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from httpx import Client
from sqlalchemy import Engine, text

from nordan_api.auth.callers import PrincipalCache
from nordan_api.context import Context
from nordan_api.grant_keys import GrantKeys
from nordan_cli.jobfile import load_all
from nordan_core.atlas.loader import default_atlas
from nordan_core.atlases import AtlasShelf
from nordan_core.facts import FactsCache
from nordan_core.policies import PolicyShelves
from nordan_core.proof.certificate import verify_certificate
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.report import VerificationReport
from nordan_core.proof.rotation import Held
from nordan_core.store.unit_of_work import Store
from nordan_scheduler.certifying import Certifier
from nordan_scheduler.cycle import Cycle, CycleReport
from nordan_scheduler.fencer import Fencer
from nordan_scheduler.load import Loader
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.reaper import Reaper
from nordan_scheduler.sealer import Sealer
from support.control import Control, make_control
from support.database_clock import START, DatabaseClock
from support.region_side import RegionSide, Run
from support.snapshot import Snapshot, dump

Json = dict[str, Any]
EUROPE = Path(__file__).parents[2] / "deploy" / "world" / "europe.yaml"
REGIONS = ("fr-bru-1", "se-bor-1", "no-nar-1", "de-fra-1")
#: Longer than any test lets time pass.
LEAD_S = 1e8
JOBS = "/v1/projects/default/jobs"
CERTIFICATE_KEY = SigningKey.create()
HELD = Held(CERTIFICATE_KEY)
#: A policy that the sample world can keep in FR and SE: confidential data, whose owner accepts open egress.
PATIENTS: Json = {
    "residency": ["FR", "SE"],
    "forbid_exposure": ["US"],
    "class": "confidential",
    "egress": "unenforced",
}
#: A US company buys the French operator of pools.
BOUGHT: Json = {
    "kind": "Entity",
    "name": "auvergne-calcul",
    "seat": "FR",
    "presences": ["SE"],
    "owners": [{"owner": "pinecrest-ventures", "capital_percent": 100, "votes_percent": 100, "control": "veto"}],
}


def job(**changes: Any) -> Json:
    """Return a small job document."""
    return {"name": "hello", "command": ["echo", "hello"], **changes}


def open_lab(url_engine: Engine, folder: Path) -> Lab:
    """Return a lab without a client yet; `settle` it once it is served."""
    clock = DatabaseClock(url_engine)
    made = make_control(Store(url_engine), folder, clock)
    context = replace(made.context, certificate_key=CERTIFICATE_KEY.public)
    return Lab(app=made.app, context=context, clock=clock, admin_key=made.admin_key, engine=url_engine)


@dataclass(kw_only=True)
class Lab(Control):
    """The control plane, its scheduler by steps, and its regions."""

    engine: Engine
    base: dict[str, Snapshot] = field(default_factory=dict)
    """The world that each test begins with."""
    held: Held = HELD
    """What the sealer finds where its key lies."""

    def settle(self, client: Client) -> None:
        """Apply the sample world, join its regions, hear of each, and keep that as where tests begin."""
        self.client = client
        self.app.state.context = self.context
        self.admin("POST", "/v1/admin:apply", {"documents": load_all(EUROPE)}, expect=200)
        self.admin("POST", "/v1/projects", {"name": "default"}, expect=201)
        for code in REGIONS:
            self.join(code)
        self.hear()
        with self.engine.begin() as connection:
            # The migration's row ends at the machine's own time, which may lie after ours.
            connection.execute(text("update leader set until = :past"), {"past": START - timedelta(days=1)})
        self.base["europe"] = Snapshot(self.engine)

    def fresh(self) -> Lab:
        """Put everything back and return a lab with nothing remembered."""
        assert isinstance(self.clock, DatabaseClock)
        self.base["europe"].restore()
        self.clock.rewind()
        # Epochs begin anew with the rows, so whatever was kept by epoch or by key must go.
        keys = GrantKeys(
            self.context.settings.grant_key_file,
            self.context.store,
            self.clock,
            self.context.settings.grant_key_overlap_s,
        )
        context: Context = replace(
            self.context, facts_cache=FactsCache(AtlasShelf()), policies=PolicyShelves(), logged=set(), grant_keys=keys
        )
        self.app.state.context, self.app.state.principals = context, PrincipalCache()
        lab = replace(self, context=context, credentials=dict(self.credentials))
        lab.client = self.client
        return lab

    def another_process(self) -> Lab:
        """Return the same control plane as an api process sees it that has just started."""
        context: Context = replace(self.context, facts_cache=FactsCache(AtlasShelf()), policies=PolicyShelves())
        self.app.state.context, self.app.state.principals = context, PrincipalCache()
        lab = replace(self, context=context)
        lab.client = self.client
        return lab

    # What time does, and what regions say by themselves.

    def hear(self) -> None:
        """Count every region as heard of just now; written to the rows, since nothing else of a sync is wanted."""
        with self.engine.begin() as connection:
            connection.execute(text("update region set seen_at = clock_timestamp()"))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; regions are heard of at its end."""
        self.clock.advance(seconds)
        self.hear()

    def region(self, code: str) -> RegionSide:
        """Return a region that holds nothing yet."""
        return RegionSide(self, code)

    # The scheduler, step by step.

    @property
    def epoch(self) -> int:
        """Return the leader epoch, taking the lead at first use."""
        found = self.one("select epoch from leader where role = 'scheduler' and until > clock_timestamp()")
        if found is not None:
            return int(found)
        with self.context.store.begin() as work:
            epoch = work.leadership.campaign("test", LEAD_S)
        assert epoch is not None, "nobody else leads"
        return epoch

    def cycle(self) -> CycleReport:
        """Run one cycle of a scheduler that has just started."""
        loader = Loader(self.context.store, self.clock, FactsCache(AtlasShelf()))
        cycle = Cycle(self.context.store, self.clock, loader, wake_regions=lambda _: None, metrics=Metrics())
        return cycle.run(self.epoch)

    def reap(self) -> None:
        """Run one round of the reaper."""
        Reaper(self.context.store, self.clock, Metrics()).step(self.epoch)

    def revisit(self) -> None:
        """Look once at all that is there, as a leader that has just started."""
        Fencer(self.context.store, self.clock, FactsCache(AtlasShelf()), Metrics()).step(self.epoch)

    def retry(self, job_id: str, *, expect: int = 200) -> Json:
        """Go on with a fenced job."""
        answer: Json = self.admin("POST", f"{JOBS}/{job_id}:retry", {}, expect=expect).json()
        return answer

    def seal(self) -> None:
        """Seal all entries and issue the certificates that waited for them."""
        store = self.context.store
        certifier = Certifier(store, FactsCache(AtlasShelf()))
        sealer = Sealer(store, self.clock, lambda: self.held, certifier=certifier, metrics=Metrics())
        while sealer.step(self.epoch) == 0.0:
            pass

    # Shorthands of what owners do.

    def submit(self, *, project: str = "default", **changes: Any) -> str:
        """Submit a job and return its id."""
        path = f"/v1/projects/{project}/jobs"
        identity: str = self.admin("POST", path, job(**changes), expect=202).json()["id"]
        return identity

    def show(self, job_id: str) -> Json:
        """Return a job as its owner sees it."""
        shown: Json = self.admin("GET", f"{JOBS}/{job_id}", expect=200).json()
        return shown

    def state(self, job_id: str) -> str:
        """Return a job's state."""
        return str(self.show(job_id)["state"])

    def cancel(self, job_id: str, *, expect: int = 200, **body: Any) -> Json:
        """Ask a job to end."""
        answer: Json = self.admin("POST", f"{JOBS}/{job_id}:cancel", body, expect=expect).json()
        return answer

    def apply(self, *documents: Json, expect: int = 200) -> Json:
        """Apply world documents."""
        answer: Json = self.admin("POST", "/v1/admin:apply", {"documents": list(documents)}, expect=expect).json()
        return answer

    def put(self, name: str, region: str, files: Json, policy: Json | None = None, *, project: str = "default") -> str:
        """Put a version of a dataset into a region and return the artifact's id."""
        path = f"/v1/projects/{project}/datasets"
        self.admin("POST", path, {"name": name, "policy": PATIENTS if policy is None else policy}, expect=201)
        access = self.admin("POST", f"{path}/{name}:put", {"region": region}, expect=201).json()
        identity: str = self.region(region).commit(access["upload_id"], files)["artifact_id"]
        return identity

    # Shorthands of whole stretches of a job's life.

    def grant_of(self, job_id: str) -> tuple[str, str]:
        """Return grant and region of a job's newest attempt."""
        [(grant, region)] = self.rows(
            "select g.id, g.region from attempt_grant g join attempt a on a.id = g.attempt_id"
            " where a.job_id = :job order by a.number desc limit 1",
            job=job_id,
        )
        return grant, region

    def place(self, **changes: Any) -> str:
        """Submit a job and have it placed."""
        job_id = self.submit(**changes)
        assert self.cycle().placed == 1, self.show(job_id)["why"]
        return job_id

    def take(self, job_id: str) -> tuple[RegionSide, Run]:
        """Redeem the grant of a placed job in its region."""
        grant, code = self.grant_of(job_id)
        region = self.region(code)
        return region, region.take(grant)

    def running(self, **changes: Any) -> tuple[str, RegionSide, Run]:
        """Submit a job and bring it to where it runs."""
        job_id = self.place(**changes)
        region, run = self.take(job_id)
        region.start(run)
        return job_id, region, run

    def verify(self, job_id: str) -> VerificationReport:
        """Return what anybody with the two public keys says of a job's certificate."""
        answer = self.admin("GET", f"{JOBS}/{job_id}/certificate", expect=200).json()
        assert answer["state"] == "issued", answer
        return verify_certificate(
            answer["envelope"],
            grant_keys=trusted(self.context.grant_key.public),
            certificate_keys=trusted(CERTIFICATE_KEY.public),
            atlas=default_atlas(),
        )

    # The rows themselves.

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a query."""
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def run(self, statement: str, **values: Any) -> None:
        """Run a statement."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def one(self, statement: str, **values: Any) -> Any:
        """Return the first column of the only row; None without one."""
        found = self.rows(statement, **values)
        return found[0][0] if found else None

    def dump(self) -> dict[str, str]:
        """Return every row, to compare before and after."""
        return dump(self.engine)
