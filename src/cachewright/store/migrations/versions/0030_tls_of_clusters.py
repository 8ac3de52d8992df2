"""Nodes of clusters whose clients connect with TLS."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("client_tls", sa.Boolean(), nullable=False, server_default=sa.false()))
