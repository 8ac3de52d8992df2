"""Stored numbers of tasks and indexes in the order of pages, so that the cost of a page does not depend on the length
of the history."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "task_counts",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_task_counts")),
    )
    for owner in ("instance_id", "project_id"):
        op.execute(f"INSERT INTO task_counts SELECT {owner}, count(*) FROM tasks GROUP BY {owner}")  # noqa: S608  # constants
    op.drop_index(op.f("ix_tasks_instance_id_sequence"), "tasks")
    op.drop_index(op.f("ix_tasks_status"), "tasks")
    op.create_index(
        op.f("ix_tasks_instance_id_created_at_sequence"), "tasks", ["instance_id", "created_at", "sequence"]
    )
    op.create_index(op.f("ix_tasks_project_id_created_at_sequence"), "tasks", ["project_id", "created_at", "sequence"])
    op.create_index(op.f("ix_tasks_status_end_time"), "tasks", ["status", "end_time"])
