"""A kind that separates sessions of the console from tokens; counts and subjects in entries of the audit log.

A session of an earlier release becomes a token: its user must sign in to the console again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("kind", sa.Text(), nullable=False, server_default="token"))
    op.add_column("audit", sa.Column("count", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("audit", sa.Column("subjects", sa.Text(), nullable=False, server_default="[]"))
