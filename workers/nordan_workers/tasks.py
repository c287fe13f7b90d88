"""The one task of a region's Celery worker: hand grant ids to the supervisor. It decides nothing and keeps nothing."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from nordan_core.queue import TASK
from nordan_workers.handover import hand_over


def register(app: Celery, supervisor_socket: Path) -> None:
    """Give a Celery application its task."""

    @app.task(name=TASK, ignore_result=True, typing=True, soft_time_limit=4, time_limit=5, max_retries=0)
    def nudge(*grant_ids: str) -> None:
        hand_over(grant_ids, supervisor_socket)
