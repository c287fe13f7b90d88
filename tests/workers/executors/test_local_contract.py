"""The local executor keeps the contract, with users of their own and without."""

from __future__ import annotations

from workers.executors.contract import ExecutorContract


class TestLocalExecutor(ExecutorContract):
    """See the base class."""
