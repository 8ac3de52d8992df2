"""Tasks that are cancelled because their instance is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("task_controls", sa.Column("for_deletion", sa.Boolean(), nullable=False, server_default=sa.false()))
