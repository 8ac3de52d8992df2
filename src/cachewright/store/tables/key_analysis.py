"""The table of analyses of keys."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import metadata

key_analyses = sa.Table(
    "key_analyses",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("found", sa.Text, nullable=False),
    sa.Index(None, "instance_id", "subject", "created_at"),
)
