"""the price of an attempt per GPU-hour, to the micro-EUR: whole micro-EUR per GPU-second were up to 0.0018 EUR off

Step: expand. The version before this one writes leases without it: their price is then what it wrote, times 3600. What
was billed stays. A pool's price is read off its document, and a job's cap in either unit, as its document has it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lease", sa.Column("price_micro_eur_per_gpu_h", sa.BigInteger(), nullable=True))
    op.execute("update lease set price_micro_eur_per_gpu_h = price_micro_eur_per_gpu_s::bigint * 3600")
