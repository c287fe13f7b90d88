"""The scheduler's cycle over a small cell."""

from __future__ import annotations

from collections.abc import Collection

from nordan_core.atlases import AtlasShelf
from nordan_core.domain.ids import RegionCode
from nordan_core.facts import FactsCache
from nordan_scheduler.cycle import Cycle
from nordan_scheduler.load import Loader
from nordan_scheduler.metrics import Metrics
from support.cell import Cell


def a_loader(cell: Cell) -> Loader:
    """Return a loader with nothing in it yet."""
    return Loader(cell.store, cell.clock, FactsCache(AtlasShelf()))


def a_cycle(cell: Cell, woken: list[RegionCode] | None = None) -> Cycle:
    """Return a cycle that notes in `woken` which regions' relays it woke."""

    def wake(regions: Collection[RegionCode]) -> None:
        if woken is not None:
            woken.extend(regions)

    return Cycle(cell.store, cell.clock, a_loader(cell), wake_regions=wake, metrics=Metrics())
