"""Shapes of ShowQuotaOfTenant."""

import msgspec

from cachewright.placement.capacity import GIGABYTE, Allocated, Limits

_ANY = -1


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of the project and its use. -1 means no limit.

    `instance` counts instances, `node` their nodes (an extension), `ram` the memory of their nodes without overhead. If
    memory has no quota, its limit is the capacity of the host.
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


def quotas(project: Allocated, limits: Limits) -> Quotas:
    """Return the quotas. Used memory is rounded up to whole GB, the quota is rounded down."""
    instances, nodes = limits.quota_instances or _ANY, limits.quota_nodes or _ANY
    memory, used = limits.project_memory // GIGABYTE, -(-project.size.maxmemory // GIGABYTE)
    return Quotas(
        Resources(
            [
                Resource(type="instance", max=instances, quota=instances, used=project.instances),
                Resource(type="node", max=nodes, quota=nodes, used=project.size.nodes),
                Resource(type="ram", unit="GB", max=memory, quota=memory, used=used),
            ]
        )
    )
