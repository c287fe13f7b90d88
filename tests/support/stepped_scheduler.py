"""A scheduler that a test moves step by step, between plan and commit too, and that forgets everything when it dies."""

from __future__ import annotations

from dataclasses import dataclass, field

from nordan_core.atlases import AtlasShelf
from nordan_core.domain.ids import RegionCode
from nordan_core.domain.queueing import Decision
from nordan_core.facts import FactsCache
from nordan_scheduler.cycle import Cycle
from nordan_scheduler.engine.plan import plan
from nordan_scheduler.fencer import Fencer
from nordan_scheduler.load import Loader, Picture
from nordan_scheduler.metrics import Metrics
from nordan_scheduler.reaper import Reaper
from nordan_scheduler.relay import RegionRelay, Send
from support.lab import LEAD_S, Lab


@dataclass
class SteppedScheduler:
    """One process: what it remembers lives as long as it does."""

    lab: Lab
    epoch: int
    loader: Loader
    cycle: Cycle
    fencer: Fencer
    reaper: Reaper
    plans: list[tuple[Picture, tuple[Decision, ...]]] = field(default_factory=list)
    """Made and not yet forgotten; a plan may be applied twice."""
    nudges: list[tuple[str, str]] = field(default_factory=list)
    """What brokers took: region and grant."""

    @classmethod
    def start(cls, lab: Lab) -> SteppedScheduler:
        """Start one that leads; whoever led before does not any more."""
        store, metrics, facts = lab.context.store, Metrics(), FactsCache(AtlasShelf())
        lab.run("update leader set until = clock_timestamp() where role = 'scheduler'")
        with store.begin() as work:
            epoch = work.leadership.campaign("test", LEAD_S)
        assert epoch is not None
        loader = Loader(store, lab.clock, facts)
        return cls(
            lab,
            epoch,
            loader,
            Cycle(store, lab.clock, loader, wake_regions=lambda _: None, metrics=metrics),
            Fencer(store, lab.clock, facts, metrics),
            Reaper(store, lab.clock, metrics),
        )

    def plan(self) -> None:
        """Do the first steps of a cycle, and remember what it decided."""
        picture = self.loader.load(lambda work: work.leadership.assert_leader(self.epoch))
        if picture.snapshot.pools and picture.epoch != self.cycle._logged_epoch:
            self.cycle._log_facts(self.epoch, picture.epoch)
        decided = plan(picture.snapshot, self.lab.clock.now(), seed=self.epoch)
        self.plans.append((picture, tuple(decided.decisions)))

    def apply(self, place: int, *, forget: bool) -> int:
        """Do the others with one of the plans, and return how many attempts that placed."""
        picture, decisions = self.plans.pop(place) if forget else self.plans[place]
        placed, _ = self.cycle._apply_all(self.epoch, picture, decisions)
        return placed

    def relay(self, region: str) -> None:
        """Send what is due to a region's broker."""
        send = RegionRelay(RegionCode(region), self.lab.context.store, self.lab.context.sealing_key, self._took(region))
        send.step(self.epoch)

    def _took(self, region: str) -> Send:
        return lambda _, *grants: self.nudges.extend((region, grant) for grant in grants)
