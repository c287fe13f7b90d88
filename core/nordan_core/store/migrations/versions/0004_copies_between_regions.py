"""leave to copy an artifact from one region into another

Step: expand. The version before this one never writes the column.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("upload", sa.Column("copies_artifact_id", sa.String(), sa.ForeignKey("artifact.id"), nullable=True))
