"""Builders for derogations: an ordinary one for a project, changed as asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from nordan_core.residency.atlas import Atlas
from nordan_core.residency.derogations import Bearings, Derogation, parse_derogation
from support.residency import ATLAS, NOW

PROJECT = "prj_one"
DATASET = "dts_patients"


def a_text(**changes: Any) -> dict[str, Any]:
    """Return the text of a derogation that adds Germany to `process` for a week."""
    return {
        "id": "drg_one",
        "project": PROJECT,
        "facet": "process",
        "to": ["DE"],
        "subjects": [f"project/{PROJECT}"],
        "not_before": NOW.isoformat(),
        "not_after": (NOW + timedelta(days=7)).isoformat(),
        "max_uses": 3,
        "break_glass": False,
        "basis": "contract, annex 4",
        "reason": "the hall in France is without power",
        "ticket": "OPS-1",
        "requested_by": "key_asks",
        **changes,
    }


def a_derogation(atlas: Atlas = ATLAS, /, **changes: Any) -> Derogation:
    """Return that derogation, changed as asked."""
    return parse_derogation(a_text(**changes), atlas)


def bearings(job: str | None = "job_one", **datasets: str) -> Bearings:
    """Return where a job of the project stands; inputs are given by name with the dataset that they come from."""
    return Bearings(PROJECT, job, datasets)
