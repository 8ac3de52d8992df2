"""Sizes of instances as options, and the spec codes that they mean."""

import math
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from cachewright.client.errors import UsageError
from cachewright.client.http import ApiClient
from cachewright.flavors import SINGLE_CAPACITIES_MB, Flavor, UnknownFlavor, cluster_code, ha_code, parse, single_code

ShardGb = Annotated[int | None, Parameter(help="Memory per shard, in GB.", validator=validators.Number(gte=1))]
Shards = Annotated[int | None, Parameter(help="Number of shards.", validator=validators.Number(gte=1, lte=128))]
Replicas = Annotated[int | None, Parameter(help="Replicas of each primary.", validator=validators.Number(gte=0, lte=5))]
MemoryGb = Annotated[float | None, Parameter(help="Memory of a single or ha instance, in GB: 0.125 to 64.")]
InstanceType = Literal["cluster", "ha", "single"]
RemovedNodes = Annotated[
    tuple[str, ...], Parameter(negative="", help="Id of a node to remove, with fewer --replicas. May be repeated.")
]
NewType = Annotated[Literal["cluster"] | None, Parameter(name="--type", help="Make a single or ha instance a cluster.")]
Spec = Annotated[str | None, Parameter(help="Spec code, instead of sizes.")]

_NEW_SHARDS = 3
"""Shards of a cluster for which no number is named."""


def chosen(
    server: ApiClient,
    kind: InstanceType,
    shards: int | None,
    shard_gb: int | None,
    spec: str | None,
    *,
    memory_gb: float | None,
    replicas: int | None,
) -> Flavor:
    """The flavor of a new instance; None chooses a default size. UsageError if no such flavor exists."""
    if spec:
        return _flavor(spec)
    if kind == "cluster":
        _require_no_memory(memory_gb)
        copies = (replicas or 0) + 1
        return _flavor(cluster_code(_cpu(server), shards=shards or _NEW_SHARDS, shard_gb=shard_gb or 1, copies=copies))
    if kind == "single":
        _require_no_shards(kind, shards, shard_gb, replicas)
        return _flavor(single_code(_cpu(server), _megabytes(memory_gb or 1)))
    _require_no_shards(kind, shards, shard_gb)
    if replicas == 0:
        raise UsageError("an ha instance has 1 to 5 replicas; --type single has none")
    return _flavor(ha_code(_cpu(server), _megabytes(memory_gb or 1), (replicas or 1) + 1))


def resized(
    present: str,
    shards: int | None,
    shard_gb: int | None,
    spec: str | None,
    *,
    memory_gb: float | None = None,
    replicas: int | None = None,
    kind: Literal["cluster"] | None = None,
) -> Flavor:
    """The new flavor of an instance with spec code `present`; None keeps a size. UsageError if no such flavor
    exists."""
    if spec:
        return _flavor(spec)
    old = _flavor(present)
    cpu = present.split(".")[2]
    copies = old.copies if replicas is None else replicas + 1
    if kind and old.cache_mode != kind:
        _require_no_memory(memory_gb)
        number = shards or _NEW_SHARDS
        size_gb = shard_gb or math.ceil(old.capacity_mb / 1024 / number)
        return _flavor(cluster_code(cpu, shards=number, shard_gb=size_gb, copies=copies))
    if old.cache_mode != "cluster":
        _require_no_shards(old.cache_mode, shards, shard_gb)
        if memory_gb is None and replicas is None:
            raise UsageError("name a change: --memory-gb, --replicas or --spec")
        megabytes = old.capacity_mb if memory_gb is None else _megabytes(memory_gb)
        return _flavor(single_code(cpu, megabytes) if copies == 1 else ha_code(cpu, megabytes, copies))
    _require_no_memory(memory_gb)
    if shards is None and shard_gb is None and replicas is None:
        raise UsageError("name a change: --shards, --shard-gb, --replicas or --spec")
    size_gb = shard_gb or old.shard_mb // 1024
    return _flavor(cluster_code(cpu, shards=shards or old.shards, shard_gb=size_gb, copies=copies))


def _megabytes(gigabytes: float) -> int:
    """The memory of an instance that is no cluster. UsageError if no flavor has it."""
    if gigabytes * 1024 not in SINGLE_CAPACITIES_MB:
        sizes = ", ".join(f"{megabytes / 1024:g}" for megabytes in SINGLE_CAPACITIES_MB)
        raise UsageError(f"single and ha instances have {sizes} GB, not {gigabytes:g}")
    return int(gigabytes * 1024)


def _require_no_shards(kind: str, *sizes: int | None) -> None:
    if any(size is not None for size in sizes):
        with_replicas = " and --replicas" if kind == "ha" else ""
        raise UsageError(f"{kind}: an instance of this type has no shards; use --memory-gb{with_replicas}")


def _require_no_memory(memory_gb: float | None) -> None:
    if memory_gb is not None:
        raise UsageError("--memory-gb is for single and ha instances; a cluster has --shards and --shard-gb")


def _flavor(spec_code: str) -> Flavor:
    try:
        return parse(spec_code)
    except UnknownFlavor as unknown:
        raise UsageError(str(unknown)) from unknown


def _cpu(server: ApiClient) -> str:
    """The processor type of the server, as in spec codes."""
    return str(server.ask("GET", "flavors")["flavors"][0]["spec_code"].split(".")[2])
