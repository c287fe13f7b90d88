"""What is still free in one pool while a plan is made.

Nodes stand in rows by number of free GPUs, so best fit is a short walk from the row that just suffices. Within a row
they stand in an order drawn from the seed. Used by `plan` and `explain`; nothing outside the engine sees it.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import islice

from nordan_core.domain.jobs import Resources
from nordan_core.domain.queueing import NodeFree, RankChoice


class Shelf:
    """The free GPUs, CPUs and memory of a pool's nodes."""

    def __init__(self, nodes: Iterable[NodeFree], seed: int) -> None:
        self._nodes = sorted(nodes, key=lambda node: (zlib.crc32(node.name.encode(), seed), node.name))
        self._masks = [node.free_mask for node in self._nodes]
        self._cpus = [node.free_cpus for node in self._nodes]
        self._memory_mib = [node.free_memory_mib for node in self._nodes]
        self._rows: dict[int, list[int]] = {}
        for position, mask in enumerate(self._masks):
            self._rows.setdefault(mask.bit_count(), []).append(position)

    def pick(self, need: Resources, count: int) -> list[int]:
        """Return up to `count` distinct nodes that fit, those with the fewest free GPUs first; takes nothing."""
        return list(islice(self._fitting(need), count))

    def leftover(self, chosen: Iterable[int], need: Resources) -> int:
        """Return how many GPUs would stay free beside the job on the chosen nodes."""
        return sum(self._masks[position].bit_count() - need.gpus for position in chosen)

    def take(self, chosen: Iterable[int], need: Resources) -> tuple[RankChoice, ...]:
        """Take what `pick` chose and return the places by rank."""
        return tuple(self._take_one(rank, position, need) for rank, position in enumerate(chosen))

    def _fitting(self, need: Resources) -> Iterator[int]:
        cpus, memory_mib = self._cpus, self._memory_mib
        for free in sorted(self._rows):
            if free >= need.gpus:
                for position in self._rows[free]:
                    if cpus[position] >= need.cpus and memory_mib[position] >= need.memory_mib:
                        yield position

    def _take_one(self, rank: int, position: int, need: Resources) -> RankChoice:
        before = self._masks[position]
        taken = lowest_bits(before, need.gpus)
        self._masks[position] = before & ~taken
        self._cpus[position] -= need.cpus
        self._memory_mib[position] -= need.memory_mib
        self._move(position, before.bit_count(), (before & ~taken).bit_count())
        node = self._nodes[position]
        return RankChoice(rank, node.name, taken, node.version)

    def _move(self, position: int, before: int, after: int) -> None:
        row = self._rows[before]
        del row[bisect_left(row, position)]
        if not row:
            del self._rows[before]
        insort(self._rows.setdefault(after, []), position)


def lowest_bits(mask: int, count: int) -> int:
    """Return the `count` lowest set bits of a mask that has at least so many."""
    taken = 0
    for _ in range(count):
        taken |= (mask & ~taken) & -(mask & ~taken)
    return taken
