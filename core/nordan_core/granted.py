"""Approved derogations as the judge takes them. Used by api and scheduler, which read them from the store."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from nordan_core.domain.approvals import Proposal
from nordan_core.residency.derogations import Derogation, parse_derogation
from nordan_core.residency.errors import PolicyError
from nordan_core.residency.places import Atlas

_log = structlog.get_logger()


def granted(proposals: Iterable[Proposal], atlas: Atlas) -> tuple[Derogation, ...]:
    """Return the derogations that two members have approved.

    One that cannot be read, or is not the text that they approved, is left out: it widens nothing.
    """
    found = []
    for one in proposals:
        try:
            derogation = parse_derogation(one.text, atlas)
        except PolicyError:
            derogation = None
        if derogation is None or derogation.digest != one.digest:
            _log.warning("derogation_unreadable", derogation=one.id)
        elif one.is_approved:
            found.append(derogation)
    return tuple(found)
