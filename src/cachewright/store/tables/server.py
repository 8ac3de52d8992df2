"""Tables of the servers that run, of the one that performs tasks, and of what they share."""

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

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("machine", sa.Text(), nullable=False),
    sa.Column("pid", sa.Integer(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("listen", sa.Text(), nullable=False),
    sa.Column("started_at", sa.BigInteger(), nullable=False),
    sa.Column("seen_at", sa.BigInteger(), nullable=False),
    sa.Column("epoch", sa.BigInteger()),
)
"""Servers that run, or ended without being stopped. They only report here; the claim does not depend on it."""

takeovers = sa.Table(
    "takeovers",
    metadata,
    sa.Column("epoch", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("server_id", sa.Text(), nullable=False),
    sa.Column("machine", sa.Text(), nullable=False),
    sa.Column("pid", sa.Integer(), nullable=False),
    sa.Column("cause", sa.Text(), nullable=False),
    sa.Column("began_at", sa.BigInteger(), nullable=False),
    sa.Column("ended_at", sa.BigInteger()),
)

server_coordination = sa.Table(
    "server_coordination",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("channel", sa.Text(), nullable=False),
)
"""One row, whose `name` is `server`. Agents have no right on the table: a lock of it orders the writes of servers on
PostgreSQL, and they exchange messages on channels whose names end with `channel`, a secret."""
