"""Tables of webhooks and their deliveries."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import SEQUENCE, metadata

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("slot", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Index(None, "project_id", "slot", unique=True),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("next_try_at", sa.BigInteger),
    sa.Column("http_status", sa.Integer),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index(None, "webhook_id", "sequence"),
    sa.Index(None, "webhook_id", "event", "sequence"),
    sa.Index(None, "queued", sqlite_where=sa.text("NOT queued"), postgresql_where=sa.text("NOT queued")),
)
