"""derogations, declassifications, atlases and versions of policies; who made which key

Step: expand. The version before this one writes keys without `made_by`: such a key counts as a member of its own, as
does one whose making the log does not tell.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OPEN = sa.text("approved_at is not null and revoked_at is null")


def upgrade() -> None:
    _members()
    _derogations()
    _declassifications()
    _atlases()
    _policies()


def _members() -> None:
    op.add_column("api_key", sa.Column("made_by", sa.String(), sa.ForeignKey("api_key.id"), nullable=True))
    op.execute(
        "update api_key k set made_by = e.actor from audit_entry e, api_key m"
        " where e.act = 'key_created' and e.subject = k.id and m.id = e.actor"
    )


def _derogations() -> None:
    op.create_table(
        "derogation",
        *_proposal(),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
    )
    op.create_index("derogation_by_project", "derogation", ["project_id", "id"])
    op.create_index("derogation_open", "derogation", ["not_after"], postgresql_where=_OPEN)


def _declassifications() -> None:
    op.create_table(
        "declassification",
        *_proposal(),
        sa.Column("artifact_id", sa.String(), sa.ForeignKey("artifact.id"), nullable=False),
    )
    op.create_index("declassification_by_project", "declassification", ["project_id", "id"])
    op.create_index("declassification_by_artifact", "declassification", ["artifact_id"])


def _proposal() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("organisation_id", sa.String(), sa.ForeignKey("organisation.id"), nullable=False),
        sa.Column("project_id", sa.String(), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("text", postgresql.JSONB(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), sa.ForeignKey("api_key.id"), nullable=False),
        sa.Column("requested_by_member", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approvals", postgresql.JSONB(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(), nullable=True),
    ]


def _atlases() -> None:
    op.create_table(
        "atlas",
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("digest", sa.String(), nullable=False, unique=True),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("envelope", postgresql.JSONB(), nullable=False),
        sa.Column("applied_by", sa.String(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
    )


def _policies() -> None:
    op.create_table(
        "policy_version",
        sa.Column("subject", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("policy", postgresql.JSONB(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
