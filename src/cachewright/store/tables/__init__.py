"""Definitions of the tables. Alembic's migrations under `migrations/` create them; a test compares the two."""

from cachewright.store.tables.backup import backups
from cachewright.store.tables.identity import access_keys, audit, grants, projects, tokens, users
from cachewright.store.tables.instance import (
    certificate_authorities,
    hosts,
    incidents,
    instances,
    nodes,
    password_attempts,
    sentinels,
    stale_nodes,
    templates,
)
from cachewright.store.tables.key_analysis import key_analyses
from cachewright.store.tables.metadata import metadata
from cachewright.store.tables.online_migration import online_migration_events, online_migrations
from cachewright.store.tables.server import server_claims, server_coordination, servers, takeovers
from cachewright.store.tables.task import task_controls, task_counts, tasks, throughput
from cachewright.store.tables.webhook import deliveries, webhooks
from cachewright.store.tables.write_log import write_logs

__all__ = [
    "access_keys",
    "audit",
    "backups",
    "certificate_authorities",
    "deliveries",
    "grants",
    "hosts",
    "incidents",
    "instances",
    "key_analyses",
    "metadata",
    "nodes",
    "online_migration_events",
    "online_migrations",
    "password_attempts",
    "projects",
    "sentinels",
    "server_claims",
    "server_coordination",
    "servers",
    "stale_nodes",
    "takeovers",
    "task_controls",
    "task_counts",
    "tasks",
    "templates",
    "throughput",
    "tokens",
    "users",
    "webhooks",
    "write_logs",
]
