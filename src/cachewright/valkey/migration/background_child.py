"""The child process that delays the snapshot of a migration, and its progress.

A node has one child process at a time. So the snapshot of a migration waits until a background save, a rewrite of the
append-only file or a full synchronization of a replica has ended.

Source: INFO persistence and replication of Valkey 9.1.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.client import Valkey, ask

_SYNCHRONIZING = {"wait_bgsave", "send_bulk", "bg_rdb_load"}


class ChildStatus(msgspec.Struct, frozen=True):
    """What a migration waits for, without commas and braces.

    :ivar cause: kind of the child process and id of its node.
    :ivar percent: progress of the child process.
    """

    cause: str
    percent: int

    def __str__(self) -> str:
        return f"waiting for {self.cause} ({self.percent} %)"


async def child_status(node: Node, client: Valkey) -> ChildStatus | None:
    """Return what a migration from the node waits for; None if the node has no such child."""
    info = await ask(client, "INFO", "persistence", "replication")  # one reply: a child may end between two requests
    if not (kind := _kind(info)):
        return None
    if kind == "background save" and _is_synchronizing(info):
        kind = "full synchronization of a replica"
    return ChildStatus(f"a {kind} of node {node.id}", _percent(info))


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
