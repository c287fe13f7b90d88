"""an index over leave to read, which is looked for by its time

Step: expand. The version before this one does not know of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("audit_reads", "audit_entry", ["at"], postgresql_where=sa.text("act = 'read_allowed'"))
