"""Certificates by which sources of migrations recognize the server, and their private keys."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0041"


def upgrade() -> None:
    for name in ("source_certificate", "source_key"):
        op.add_column("online_migrations", sa.Column(name, sa.Text(), nullable=True))
