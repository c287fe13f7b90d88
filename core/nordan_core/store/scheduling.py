"""What the scheduler's cycle loads and applies."""

from __future__ import annotations

from sqlmodel import Session


class Scheduling:
    """The queue as the cycle sees it."""

    def __init__(self, session: Session) -> None:
        self._session = session
