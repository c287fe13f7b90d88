"""an index over leave to put, which is looked for in each region until it is used

Step: expand. The version before this one does not know of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("upload_open", "upload", ["region", "expires_at"], postgresql_where=sa.text("artifact_id is null"))
