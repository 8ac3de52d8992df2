"""Tasks that wait for a maintenance window."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks ADD COLUMN begins_at BIGINT")
