"""keys say which other key is the same person's

Step: expand. The version before this one never reads or writes the column: a key is then a member's own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_key", sa.Column("same_as", sa.String(), sa.ForeignKey("api_key.id"), nullable=True))
