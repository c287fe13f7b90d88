"""where a region's broker is, sealed

Step: expand. Regions that joined earlier join again; until then their nudges wait.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("region", sa.Column("broker_sealed", sa.LargeBinary(), nullable=True))
