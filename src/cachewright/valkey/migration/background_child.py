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
    :ivar keys: number of keys that the child saves.
    :ivar saved: number of keys that it has saved. A child tells it once a second, or after 1,024 keys if these take
        longer.
    """

    cause: str
    keys: int
    saved: int

    @property
    def left(self) -> float:
        """The share of the keys that it has not saved yet."""
        return 1.0 - self.saved / self.keys if self.keys else 1.0

    def __str__(self) -> str:
        percent = 100 * self.saved // self.keys if self.keys else 0
        return f"waiting for {self.cause} ({percent} %)"


async def child_status(node: Node, client: Valkey) -> ChildStatus | None:
    """Return what a migration from the node waits for; None if the node has no such child."""
    info = await ask(client, "INFO", "persistence", "replication")  # one reply: a child may end between two requests
    if not (kind := _kind(info)):
        return None
    if kind == "background save" and _is_synchronizing(info):
        kind = "full synchronization of a replica"
    keys, saved = int(info.get("current_save_keys_total", 0)), int(info.get("current_save_keys_processed", 0))
    return ChildStatus(f"a {kind} of node {node.id}", keys=keys, saved=min(saved, keys))


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
