"""Write logs, their node and their disk, for tests."""

import shutil
from collections import namedtuple
from typing import Any

import pytest

from cachewright.model.instances import Node
from cachewright.model.write_logs import WriteLog

NOW = 1_800_000_000
GIGABYTE = 1024**3


def a_log(**members: Any) -> WriteLog:
    """A log of the only shard, except for the given members."""
    plain: dict[str, Any] = {
        "id": "l",
        "project_id": "p",
        "instance_id": "i",
        "shard": 0,
        "node_id": "n",
        "process": "1",
        "base": "b",
        "spec_code": "redis.cluster.xu1.large.r1.s1.1",
        "server_version": "9.1.2",
        "ranges": ((0, 16383),),
        "key": "secret key",
        "created_at": NOW,
        "first": NOW - 100,
        "last": NOW - 10,
        "objects": 1,
        "stored": {"b": 1},
    }
    return WriteLog(**plain | members)


def a_node() -> Node:
    place: dict[str, Any] = {"role": "primary", "host": "127.0.0.1", "port": 1, "bus_port": 2}
    return Node(id="n", instance_id="i", shard=0, maxmemory=1, should_run=True, created_at=1, **place)


Usage = namedtuple("Usage", "total used free")


def leave_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let every disk have 100 GB, of which so many bytes are free. The reserve is 1 GB."""
    total = 100 * GIGABYTE
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
