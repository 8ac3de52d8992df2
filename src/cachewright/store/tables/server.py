"""Table of the server that performs tasks."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import metadata

server_claims = sa.Table(
    "server_claims",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("epoch", sa.BigInteger(), nullable=False),
    sa.Column("server_id", sa.Text(), nullable=False),
    sa.Column("session", sa.Text(), nullable=False),
    sa.Column("machine", sa.Text(), nullable=False),
    sa.Column("renewals", sa.BigInteger(), nullable=False),
    sa.Column("is_released", sa.Boolean(), nullable=False),
)
"""One row, whose `name` is `server`. Only servers on PostgreSQL use it."""
