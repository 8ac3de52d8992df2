"""TLS between the nodes of an instance: its certificate authority, and a port of each node."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("instances", sa.Column("node_ca", sa.Text()))
    op.add_column("nodes", sa.Column("tls_port", sa.Integer()))
    op.create_index(op.f("ix_nodes_host_tls_port"), "nodes", ["host", "tls_port"], unique=True)
