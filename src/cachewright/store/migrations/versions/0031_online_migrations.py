"""Migrations from outside, and their logs."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "online_migrations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("resume_mode", sa.Text(), nullable=False),
        sa.Column("bandwidth_limit_mb", sa.Integer(), nullable=True),
        sa.Column("source_addresses", sa.Text(), nullable=False),
        sa.Column("source_user", sa.Text(), nullable=True),
        sa.Column("source_password", sa.Text(), nullable=True),
        sa.Column("source_name", sa.Text(), nullable=True),
        sa.Column("target_id", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Text(), nullable=True),
        sa.Column("target_was_empty", sa.Boolean(), nullable=True),
        sa.Column("cut_over_at", sa.BigInteger(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_online_migrations"),
    )
    op.create_index("ix_online_migrations_project_id", "online_migrations", ["project_id"])
    op.create_table(
        "online_migration_events",
        sa.Column("sequence", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("migration_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_online_migration_events"),
    )
    op.create_index(
        "ix_online_migration_events_migration_id_sequence", "online_migration_events", ["migration_id", "sequence"]
    )
