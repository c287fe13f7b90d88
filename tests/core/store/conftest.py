from __future__ import annotations

import pytest
from sqlalchemy import Engine

from support.cell import Cell
from support.postgres import engine, server, store

__all__ = ["cell", "engine", "server", "store"]


@pytest.fixture
def cell(engine: Engine) -> Cell:
    """Return a small cell in a real database."""
    return Cell.create(engine)
