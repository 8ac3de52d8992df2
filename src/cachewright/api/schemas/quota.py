"""Shapes of ShowQuotaOfTenant."""

import msgspec

from cachewright.model.backups import StoredBytes
from cachewright.placement.capacity import GIGABYTE, Allocated, Limits

_ANY = -1


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of the project and its use. -1 means no limit.

    `instance` counts instances, `node` their nodes (an extension), `ram` the memory of their nodes without overhead. If
    memory has no quota, its limit is the capacity of the host. `backup` is the size of backups and write logs (an
    extension).
    """

    type: str
    unit: str | None = None
    min: int = 0
    max: int
    quota: int
    used: int


class Resources(msgspec.Struct, frozen=True):
    resources: list[Resource]


class Quotas(msgspec.Struct, frozen=True):
    quotas: Resources


def quotas(project: Allocated, limits: Limits, stored: StoredBytes) -> Quotas:
    """Return the quotas. Used bytes are rounded up to whole GB, quotas are rounded down."""
    instances, nodes = limits.quota_instances or _ANY, limits.quota_nodes or _ANY
    memory, used = limits.project_memory // GIGABYTE, -(-project.size.maxmemory // GIGABYTE)
    backup = stored.quota // GIGABYTE or _ANY
    return Quotas(
        Resources(
            [
                Resource(type="instance", max=instances, quota=instances, used=project.instances),
                Resource(type="node", max=nodes, quota=nodes, used=project.size.nodes),
                Resource(type="ram", unit="GB", max=memory, quota=memory, used=used),
                Resource(type="backup", unit="GB", max=backup, quota=backup, used=-(-stored.used // GIGABYTE)),
            ]
        )
    )
