"""Analyses of keys."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.create_table(
        "key_analyses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_analyses"),
    )
    op.create_index(
        "ix_key_analyses_instance_id_subject_created_at", "key_analyses", ["instance_id", "subject", "created_at"]
    )
