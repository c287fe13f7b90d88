"""What the warm parent imports, every shim of a region holds in memory."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"pydantic", "structlog", "httpx", "celery", "redis", "cryptography", "asyncio", "email", "logging"}


def test_a_shim_carries_the_standard_librarys_small_parts_only() -> None:
    script = "import sys, nordan_workers.shim.parent; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert HEAVY.isdisjoint(done.stdout.split())
