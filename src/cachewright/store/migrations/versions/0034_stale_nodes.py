"""Nodes that were removed while their host did not report."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_table(
        "stale_nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host_name", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stale_nodes"),
    )
    op.create_index("ix_stale_nodes_host_name", "stale_nodes", ["host_name"])
