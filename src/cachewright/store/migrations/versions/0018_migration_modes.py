"""Three modes of migration instead of two priorities."""

from alembic import op

revision = "0018"
down_revision = "0016"


def upgrade() -> None:
    op.execute("ALTER TABLE task_controls ADD COLUMN mode TEXT NOT NULL DEFAULT 'balanced'")
    op.execute("UPDATE task_controls SET mode = 'fastest' WHERE priority = 'speed'")
    op.execute("ALTER TABLE task_controls DROP COLUMN priority")
