"""The fake that supervisor tests use keeps the contract too."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.clock import SystemClock
from support.fake_executor import FakeExecutor
from workers.executors.contract import ExecutorContract


class TestFakeExecutor(ExecutorContract):
    """See the base class."""

    @pytest.fixture
    def executor(self, region_dir: Path) -> FakeExecutor:
        return FakeExecutor(region_dir, SystemClock())
