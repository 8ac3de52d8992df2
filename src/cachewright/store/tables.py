"""Definitions of the tables. Alembic's migrations under `migrations/` create them; a test compares the two."""

import sqlalchemy as sa

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Type of row numbers that the database assigns. SQLite assigns them only to columns of the type INTEGER."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("password", sa.Text),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

grants = sa.Table(
    "grants",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
)

access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("access_key", sa.Text, primary_key=True),
    sa.Column("secret_key", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("project_id", sa.Text),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False, server_default="token"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("error_code", sa.Text),
    sa.Column("count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("subjects", sa.Text, nullable=False, server_default="[]"),
    sa.Index(None, "project_id", "at", "sequence"),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("engine_version", sa.Text, nullable=False),
    sa.Column("spec_code", sa.Text, nullable=False),
    sa.Column("seed_port", sa.Integer, nullable=False),
    sa.Column("password", sa.Text),
    sa.Column("control_secret", sa.Text, nullable=False),
    sa.Column("attributes", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("launched_at", sa.BigInteger),
    sa.Column("error_code", sa.Text),
    sa.Column("parameters", sa.Text, nullable=False, server_default="{}"),
    sa.Column("node_ca", sa.Text),
    sa.Column("accounts", sa.Text),
    sa.Column("disabled_commands", sa.Text, nullable=False, server_default="[]"),
    sa.Column("pending_password", sa.Text),
    sa.Column("address", sa.Text, nullable=False, server_default="127.0.0.1"),
    sa.Column("server_certificate", sa.Text),
    sa.Index(None, "project_id", "created_at"),
)

password_attempts = sa.Table(
    "password_attempts",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, nullable=False, index=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("locked_until", sa.BigInteger),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, nullable=False, index=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("bus_port", sa.Integer, nullable=False),
    sa.Column("maxmemory", sa.BigInteger, nullable=False),
    sa.Column("should_run", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("access", sa.Text, nullable=False, server_default="password"),
    sa.Column("tls_port", sa.Integer),
    sa.Column("client_tls", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("priority", sa.Integer, nullable=False, server_default="100"),
    sa.Column("server_version", sa.Text),
    sa.Column("host_name", sa.Text, nullable=False, server_default="local", index=True),
    sa.UniqueConstraint("host", "port"),
    sa.UniqueConstraint("host", "bus_port"),
    sa.Index(None, "host", "tls_port", unique=True),
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger),
    sa.Column("report", sa.Text, nullable=False),
)

sentinels = sa.Table(
    "sentinels",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("host", "port"),
)

certificate_authorities = sa.Table(
    "certificate_authorities",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("secret", sa.Text, nullable=False),
)

templates = sa.Table(
    "templates",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("engine_version", sa.Text, nullable=False),
    sa.Column("cache_mode", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

backups = sa.Table(
    "backups",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("instance_name", sa.Text, nullable=False),
    sa.Column("spec_code", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("task_id", sa.Text, nullable=False, unique=True),
    sa.Column("remark", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("taken_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("expires_at", sa.BigInteger),
    sa.Index(None, "project_id", "created_at"),
    sa.Index(None, "instance_id", "created_at"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("begins_at", sa.BigInteger),
    sa.Column("begin_time", sa.BigInteger),
    sa.Column("end_time", sa.BigInteger),
    sa.Column("error_code", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("remaining_seconds", sa.Float, nullable=False),
    sa.Column("remaining_low", sa.Float, nullable=False, server_default="0"),
    sa.Column("remaining_high", sa.Float, nullable=False, server_default="0"),
    sa.Column("estimated_at", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("forecasts", sa.Text, nullable=False),
    sa.Column("steps", sa.Text, nullable=False),
    sa.Index(None, "instance_id", "created_at", "sequence"),
    sa.Index(None, "project_id", "created_at", "sequence"),
    sa.Index(None, "status", "end_time"),
)

task_counts = sa.Table(
    "task_counts",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("tasks", sa.Integer, nullable=False),
)

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
    sa.Column("target_id", sa.Text),
    sa.Column("task_id", sa.Text),
    sa.Column("target_was_empty", sa.Boolean),
    sa.Column("cut_over_at", sa.BigInteger),
    sa.Column("attributes", sa.Text, nullable=False),
)

online_migration_events = sa.Table(
    "online_migration_events",
    metadata,
    sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
    sa.Column("migration_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Index(None, "migration_id", "sequence"),
)

task_controls = sa.Table(
    "task_controls",
    metadata,
    sa.Column("task_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("parallel", sa.Integer),
    sa.Column("latency_ceiling_ms", sa.Float),
    sa.Column("mode", sa.Text, nullable=False, server_default="balanced"),
    sa.Column("for_deletion", sa.Boolean, nullable=False, server_default=sa.false()),
)

throughput = sa.Table(
    "throughput",
    metadata,
    sa.Column("action", sa.Text, primary_key=True),
    sa.Column("units_per_second", sa.Float, nullable=False),
    sa.Column("samples", sa.Integer, nullable=False),
    sa.Column("deviation", sa.Float),
)

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

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("project_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("error_code", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger, index=True),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
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
