"""Tables of migrations from other servers."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import SEQUENCE, metadata

online_migrations = sa.Table(
    "online_migrations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("method", sa.Text),
    sa.Column("resume_mode", sa.Text, nullable=False),
    sa.Column("bandwidth_limit_mb", sa.Integer),
    sa.Column("source_addresses", sa.Text, nullable=False),
    sa.Column("source_user", sa.Text),
    sa.Column("source_password", sa.Text),
    sa.Column("source_name", sa.Text),
    sa.Column("source_tls", sa.Text),
    sa.Column("source_ca", sa.Text),
    sa.Column("source_certificate", sa.Text),
    sa.Column("source_key", sa.Text),
    sa.Column("source_files", sa.Text),
    sa.Column("source_backup", sa.Text),
    sa.Column("target_id", sa.Text),
    sa.Column("task_id", sa.Text),
    sa.Column("target_was_empty", sa.Boolean),
    sa.Column("cut_over_at", sa.BigInteger),
    sa.Column("attributes", sa.Text, nullable=False),
)

online_migration_events = sa.Table(
    "online_migration_events",
    metadata,
    sa.Column("sequence", SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("migration_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Index(None, "migration_id", "sequence"),
)
