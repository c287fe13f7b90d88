"""What a launch order says of its pool's neighbours, so that a machine gives no GPU to two pools."""

from __future__ import annotations

from typing import Any

from nordan_cli.jobfile import load_all
from support.lab import EUROPE, Lab


def test_an_order_tells_what_the_regions_other_real_pools_say(lab: Lab) -> None:
    def order() -> tuple[str, bool, list[int]]:
        said: dict[str, Any] = lab.take(lab.place())[1].order
        return said["pool"], said["is_only_real_pool"], said["rival_memories_mib"]

    pool, is_only, _ = order()
    assert not is_only, "its GPUs are made up"
    documents = {one["name"]: one for one in load_all(EUROPE) if one["kind"] == "Pool"}
    real = {**documents[pool], "has_made_up_gpus": False}
    lab.apply(real)
    assert order() == (pool, True, [])
    dear = {**real, "price_eur_per_gpu_h": 99}
    lab.apply({**dear, "name": "other", "accelerator": "L4"})
    assert order() == (pool, False, [])
    lab.apply({**dear, "name": "larger", "gpu_memory_mib": 95_000, "accelerator": real["accelerator"].lower()})
    lab.apply({**dear, "name": "made-up", "gpu_memory_mib": 1000, "has_made_up_gpus": True})
    assert order() == (pool, False, [95_000])
