"""Priorities of replicas."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN priority INTEGER NOT NULL DEFAULT 100")
