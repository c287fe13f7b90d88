"""nodes as clusters report them, and what operators hold back

Step: expand. A node's name becomes unique in its pool only, since two clusters may use one name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The defaults stay: the version before this one writes nodes and pools without these columns.
    op.add_column("region", sa.Column("nodes_seen_at", sa.DateTime(timezone=True), nullable=True))
    for name in ("hold", "hold_reason"):
        op.add_column("pool", sa.Column(name, sa.String(), nullable=False, server_default=""))
        op.add_column("node", sa.Column(name, sa.String(), nullable=False, server_default=""))
    for name in ("shut_gpus", "shut_cpus", "shut_memory_mib"):
        op.add_column("node", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("node", sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("node", sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("update node set gone_at = clock_timestamp() where state = 'down'")
    op.create_check_constraint(
        "node_shut_not_negative", "node", "shut_gpus >= 0 and shut_cpus >= 0 and shut_memory_mib >= 0"
    )
    op.drop_constraint("node_pkey", "node", type_="primary")
    op.create_primary_key("node_pkey", "node", ["pool", "name"])
    op.drop_index("ix_node_pool", "node")
