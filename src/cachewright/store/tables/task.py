"""Tables of tasks and what was learned from them."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import SEQUENCE, metadata

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("begins_at", sa.BigInteger),
    sa.Column("begin_time", sa.BigInteger),
    sa.Column("end_time", sa.BigInteger),
    sa.Column("error_code", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("remaining_seconds", sa.Float, nullable=False),
    sa.Column("remaining_low", sa.Float, nullable=False, server_default="0"),
    sa.Column("remaining_high", sa.Float, nullable=False, server_default="0"),
    sa.Column("estimated_at", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("forecasts", sa.Text, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Index(None, "instance_id", "created_at", "sequence"),
    sa.Index(None, "project_id", "created_at", "sequence"),
    sa.Index(None, "status", "end_time"),
)

task_counts = sa.Table(
    "task_counts",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("tasks", sa.Integer, nullable=False),
)

task_controls = sa.Table(
    "task_controls",
    metadata,
    sa.Column("task_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parallel", sa.Integer),
    sa.Column("latency_ceiling_ms", sa.Float),
    sa.Column("mode", sa.Text, nullable=False, server_default="balanced"),
    sa.Column("for_deletion", sa.Boolean, nullable=False, server_default=sa.false()),
)

throughput = sa.Table(
    "throughput",
    metadata,
    sa.Column("action", sa.Text, primary_key=True),
    sa.Column("units_per_second", sa.Float, nullable=False),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("deviation", sa.Float),
)
