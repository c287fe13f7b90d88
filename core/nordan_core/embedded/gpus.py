"""Which GPUs this machine has, as its driver says.

Used by `up` to describe the home region. Asking must not fail: a machine without driver or library has no GPUs.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import pynvml

_USUAL_POWER_W = 300
_BRANDS = re.compile(r"^(NVIDIA|Tesla|Quadro|GeForce)\s+", re.IGNORECASE)
_MODEL = re.compile(r"^(?:(?P<family>RTX|GTX|TITAN)\s+)?(?P<number>[A-Za-z]*\d+[A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class GpuModel:
    """GPUs of one model in this machine."""

    name: str
    """As job documents ask for it, such as H100."""
    memory_mib: int
    count: int
    power_w: int
    """The limit that the driver enforces, per GPU."""


def found_gpus() -> tuple[GpuModel, ...]:
    """Return this machine's GPUs by model, most frequent first; empty where NVML finds none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        devices = [_describe(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()
    counts = Counter((name, memory) for name, memory, _ in devices)
    # Limits differ within a model where somebody set them; the estimate takes the highest.
    limits = {kind: max(power for *other, power in devices if tuple(other) == kind) for kind in counts}
    return tuple(GpuModel(*kind, count, limits[kind]) for kind, count in counts.most_common())


def model_name(product: str) -> str:
    """Return the short name of a product: `NVIDIA H100 80GB HBM3` is H100, `NVIDIA A100-SXM4-80GB` is A100."""
    rest = product.strip()
    while (shorter := _BRANDS.sub("", rest)) != rest:
        rest = shorter
    match = _MODEL.match(rest)
    if not match:
        return rest.split()[0] if rest else "GPU"
    return f"{match['family'] or ''}{match['number']}".upper() if match["family"] else match["number"]


def _describe(index: int) -> tuple[str, int, int]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    product = pynvml.nvmlDeviceGetName(handle)
    text = product.decode() if isinstance(product, bytes) else str(product)
    try:
        power_w = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) // 1000
    except pynvml.NVMLError:
        # Not every board tells; the figure only serves estimates before anything was measured.
        power_w = _USUAL_POWER_W
    return model_name(text), pynvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20, power_w
