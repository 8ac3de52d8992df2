"""Sentinels that use TLS, with the authority of their certificates."""

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0039"


def upgrade() -> None:
    op.add_column("sentinels", sa.Column("authority", sa.Text(), nullable=True))
