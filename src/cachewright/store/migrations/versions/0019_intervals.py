"""Intervals of the remaining time, and how much measured rates vary."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks ADD COLUMN remaining_low FLOAT NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE tasks ADD COLUMN remaining_high FLOAT NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE throughput ADD COLUMN deviation FLOAT")
    op.execute("DELETE FROM throughput WHERE action NOT LIKE 'wait for a batch%'")  # rates of another model
