"""Hosts: the machines that run nodes. All present nodes run on the machine of the server."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger()),
        sa.Column("report", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hosts"),
    )
    op.execute(
        "INSERT INTO hosts (name, address, zone, state, created_at, report) "
        "VALUES ('local', '127.0.0.1', 'local', 'active', 0, 'null')"
    )
    op.execute("ALTER TABLE nodes ADD COLUMN host_name TEXT NOT NULL DEFAULT 'local'")
    op.create_index("ix_nodes_host_name", "nodes", ["host_name"])
