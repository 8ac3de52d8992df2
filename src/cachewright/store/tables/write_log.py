"""The table of write logs."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import metadata

write_logs = sa.Table(
    "write_logs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("instance_id", sa.Text, nullable=False, index=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("spec_code", sa.Text, nullable=False),
    sa.Column("server_version", sa.Text, nullable=False),
    sa.Column("ranges", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger),
    sa.Column("objects", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("stored", sa.Text, nullable=False),
    sa.Column("ended", sa.Text),
)
