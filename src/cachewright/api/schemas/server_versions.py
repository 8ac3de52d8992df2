"""Shapes of ShowInstanceVersion and UpgradeInstanceMinorVersion. An instance has no proxy with a version of its own."""

import msgspec

from cachewright.services.server_versions import InstanceVersions


class NodeVersion(msgspec.Struct, frozen=True):
    """An extension. `engine_minor_version` is null for a node that does not answer."""

    node_id: str
    engine_minor_version: str | None


class ShownVersion(msgspec.Struct, frozen=True, kw_only=True):
    """`engine_minor_version` is the oldest version that a node runs; empty if no node answers. `nodes` and
    `available_engine_minor_versions` are extensions."""

    engine_minor_version: str
    latest_engine_minor_version: str
    engine_minor_version_upgradable: bool
    proxy_minor_version: str = ""
    latest_proxy_minor_version: str = ""
    proxy_minor_version_upgradable: bool = False
    available_engine_minor_versions: list[str]
    nodes: list[NodeVersion]


class UpgradeBody(msgspec.Struct, frozen=True):
    """`latest` stands for the newest configured version. Without `execute_immediately` the upgrade begins in the
    maintenance window."""

    engine_minor_version: str | None = None
    proxy_minor_version: str | None = None
    execute_immediately: bool = True


class TaskId(msgspec.Struct, frozen=True):
    task_id: str


def shown_version(found: InstanceVersions) -> ShownVersion:
    return ShownVersion(
        engine_minor_version=found.oldest or "",
        latest_engine_minor_version=found.newest,
        engine_minor_version_upgradable=found.is_upgradable,
        available_engine_minor_versions=list(found.configured),
        nodes=[NodeVersion(node_id, version) for node_id, version in found.running.items()],
    )
