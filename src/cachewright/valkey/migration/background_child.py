"""The child process that delays the snapshot of a migration, and its progress.

A node has one child process at a time. So the snapshot of a migration waits until a background save, a rewrite of the
append-only file or a full synchronization of a replica has ended.

Source: INFO persistence and replication of Valkey 9.1.
"""

from collections.abc import Mapping
from typing import Any

from cachewright.model.instances import Node
from cachewright.valkey.client import Valkey

_SYNCHRONIZING = {"wait_bgsave", "send_bulk", "bg_rdb_load"}


async def child_status(node: Node, client: Valkey) -> str | None:
    """Return what a migration from the node waits for, without commas and braces; None if the node has no such
    child."""
    persistence = await client.info("persistence")
    if not (kind := _kind(persistence)):
        return None
    if kind == "background save" and _is_synchronizing(await client.info("replication")):
        kind = "full synchronization of a replica"
    return f"waiting for a {kind} of node {node.id} ({_percent(persistence)} %)"


def _kind(persistence: Mapping[str, Any]) -> str | None:
    if persistence.get("rdb_bgsave_in_progress"):
        return "background save"
    if persistence.get("aof_rewrite_in_progress"):
        return "rewrite of the append-only file"
    return None


def _is_synchronizing(replication: Mapping[str, Any]) -> bool:
    """Whether a replica, or a program that reads a snapshot as if it were one, waits for a snapshot or receives it."""
    replicas = (value for name, value in replication.items() if name.startswith("slave") and isinstance(value, dict))
    return any(replica.get("state") in _SYNCHRONIZING for replica in replicas)


def _percent(persistence: Mapping[str, Any]) -> int:
    """Progress of the child in percent, by the keys that it has saved."""
    total = int(persistence.get("current_save_keys_total", 0))
    saved = int(persistence.get("current_save_keys_processed", 0))
    return min(100 * saved // total, 100) if total else 0
