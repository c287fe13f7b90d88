from __future__ import annotations

from support.postgres import engine, server

__all__ = ["engine", "server"]
