"""Tables of instances, their nodes, and what they share."""

import sqlalchemy as sa

from cachewright.store.tables.metadata import metadata

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
    sa.Column("apart", sa.Boolean, nullable=False, server_default=sa.false()),
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

stale_nodes = sa.Table(
    "stale_nodes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host_name", sa.Text, nullable=False, index=True),
    sa.Column("removed_at", sa.BigInteger, nullable=False),
)

sentinels = sa.Table(
    "sentinels",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("host_name", sa.Text, nullable=False, server_default="local"),
    sa.Column("authority", sa.Text),
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
