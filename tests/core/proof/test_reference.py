"""The reference page names every field and every check of a certificate."""

from dataclasses import fields
from pathlib import Path

import pytest

from nordan_core.proof import records
from nordan_core.proof.records import Certificate
from support.certificates import Story, verified

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "certificate.md").read_text(encoding="utf-8")
RECORDS = (
    Certificate,
    records.JobRecord,
    records.PlaceRecord,
    records.JudgementRecord,
    records.AttemptRecord,
    records.InputRecord,
    records.OutputRecord,
    records.VersionsRecord,
    records.EntryRecord,
    records.AuditRecord,
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_on_the_page(record: type) -> None:
    assert [field.name for field in fields(record) if f"`{field.name}`" not in PAGE] == []


def test_every_check_is_on_the_page() -> None:
    checks = verified(Story().certificate()).checks
    assert [check.name for check in checks if f"| `{check.name}` |" not in PAGE] == []
