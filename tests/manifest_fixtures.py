"""A manifest for tests that do not depend on its content."""

from typing import Any

from cachewright.backups.manifest import Manifest


def a_manifest(**members: Any) -> Manifest:
    """A manifest without shards, except for the given members."""
    plain: dict[str, Any] = {
        "backup_id": "b",
        "project_id": "p",
        "instance_id": "i",
        "instance_name": "cache",
        "folder": "b/first",
        "taken_at": 1,
        "moment": "instance",
        "spec_code": "redis.single.xu1.large.1",
        "engine_version": "7.0",
        "server_version": "9.1.2",
        "parameters": {},
        "disabled_commands": (),
        "accounts": (),
        "password": None,
        "shards": (),
    }
    return Manifest(**plain | members)
