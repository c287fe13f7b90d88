from __future__ import annotations

import pytest

from nordan_core.domain.errors import Conflict
from support.cell import FR, Cell, lead
from support.scheduling import a_cycle


def _free(cell: Cell) -> list[tuple[object, ...]]:
    return cell.rows("select name, state, cpus, free_cpus, free_mask from node where pool = 'fr-h100' order by name")


def test_a_pool_grows_and_shrinks_by_its_last_nodes(cell: Cell) -> None:
    cell.add_pool("fr-h100", FR, nodes=4)
    assert [row[:2] for row in _free(cell)] == [(f"fr-h100-{n}", "ready") for n in range(4)]
    cell.add_pool("fr-h100", FR, nodes=1)
    assert [row[1] for row in _free(cell)] == ["ready", "down", "down", "down"]
    cell.add_pool("fr-h100", FR, nodes=2)
    assert [row[1] for row in _free(cell)] == ["ready", "ready", "down", "down"]


def test_nodes_never_become_smaller_than_what_jobs_hold(cell: Cell) -> None:
    """What is free stays what is there less what is held, before and after everything has ended."""
    cell.run("delete from node where pool = 'se-h100' or name = 'fr-h100-1'")
    before = _free(cell)
    [job] = cell.submit()
    a_cycle(cell).run(lead(cell.store))
    cell.run("update node set free_cpus = free_cpus - 79, free_memory_mib = free_memory_mib - 1")
    cell.run("update attempt set cpus_per_rank = 80, memory_mib_per_rank = memory_mib_per_rank + 1")
    with pytest.raises(Conflict, match="fr-h100-0"):
        cell.add_pool("fr-h100", FR, nodes=1, cpus=79)
    cell.add_pool("fr-h100", FR, nodes=1, cpus=80)
    assert [row[2:4] for row in _free(cell)] == [(80, 0)]
    cell.end(job)
    assert [row[2:4] for row in _free(cell)] == [(80, 80)]
    cell.add_pool("fr-h100", FR, nodes=1)
    assert _free(cell) == before


def test_a_large_pool_is_written_at_once(cell: Cell) -> None:
    """Every act waits for a change of the world, so it has to be short."""
    cell.add_pool("large", FR, nodes=10_000)
    assert cell.rows("select count(*), min(free_mask), max(free_cpus) from node where pool = 'large'") == [
        (10_000, 255, 96)
    ]
