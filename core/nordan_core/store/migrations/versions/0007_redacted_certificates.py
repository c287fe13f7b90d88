"""certificates for third parties, beside those of owners

Step: expand. The version before this one never reads or writes the columns.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("certificate", sa.Column("redaction", sa.String(), nullable=True))
    op.create_index(
        "certificate_redaction_asked", "certificate", ["job_id"], postgresql_where=sa.text("redaction = 'asked'")
    )
    op.add_column("certificate", sa.Column("redacted", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
