"""Tasks that wait for a maintenance window."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks ADD COLUMN begins_at BIGINT")
