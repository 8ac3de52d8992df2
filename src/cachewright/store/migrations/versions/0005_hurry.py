"""Priority of a task: speed, or latency of clients."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("controls", sa.Column("hurry", sa.Boolean(), nullable=False, server_default=sa.false()))
