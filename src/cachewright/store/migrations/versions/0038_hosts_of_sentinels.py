"""The host of each sentinel."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0043"


def upgrade() -> None:
    op.add_column("sentinels", sa.Column("host_name", sa.Text(), nullable=False, server_default="local"))
