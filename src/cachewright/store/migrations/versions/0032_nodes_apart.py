"""Nodes that a change of the type of their instance adds later, or has replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("apart", sa.Boolean(), nullable=False, server_default=sa.false()))
