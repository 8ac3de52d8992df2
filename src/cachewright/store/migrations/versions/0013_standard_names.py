"""Standard names of columns, tables and roles."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes RENAME COLUMN wanted TO should_run")
    op.execute("UPDATE nodes SET role = CASE role WHEN 'slave' THEN 'replica' ELSE 'primary' END")
    op.create_table(
        "task_controls",
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("parallel", sa.Integer()),
        sa.Column("latency_ceiling_ms", sa.Float()),
        sa.Column("priority", sa.Text(), nullable=False, server_default="latency"),
        sa.PrimaryKeyConstraint("task_id", name="pk_task_controls"),
    )
    op.execute(
        "INSERT INTO task_controls (task_id, state, parallel, latency_ceiling_ms, priority) "
        "SELECT task_id, CASE wish WHEN 'pause' THEN 'paused' WHEN 'cancel' THEN 'cancelled' ELSE 'running' END, "
        "parallel, latency_ceiling_ms, CASE WHEN hurry THEN 'speed' ELSE 'latency' END FROM controls"
    )
    op.drop_table("controls")
    op.create_table(
        "throughput",
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("units_per_second", sa.Float(), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("action", name="pk_throughput"),
    )
    op.execute(
        "INSERT INTO throughput (action, units_per_second, samples) SELECT action, units_per_second, samples FROM rates"
    )
    op.drop_table("rates")
