"""which places of an artifact became unlawful, and after which fenced attempt an owner chose to go on

Step: expand. The version before this one never writes the columns.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("location", sa.Column("fenced_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("location", sa.Column("fence", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index(
        "location_fenced",
        "location",
        ["region", "fenced_at"],
        unique=False,
        postgresql_where=sa.text("fenced_at is not null"),
    )
    op.add_column("job", sa.Column("resumed_after", sa.Integer(), nullable=False, server_default="0"))
