"""Shapes of ListNumberOfInstancesInDifferentStatus and ListStatisticsOfRunningInstances."""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.api.schemas.nodes import kilobits
from cachewright.flavors import MEGABYTE, parse
from cachewright.model.instances import Instance
from cachewright.monitoring.inspection import NodeInfo


class StatusQuery(msgspec.Struct, frozen=True):
    """All values except `true` mean false."""

    include_failure: str = ""


class StatusCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of instances. Instances in deletion are not counted, because the contract has no counter for them."""

    paying_count: int = 0
    freezing_count: int = 0
    migrating_count: int = 0
    flushing_count: int = 0
    upgrading_count: int = 0
    restoring_count: int = 0
    extending_count: int = 0
    creating_count: int = 0
    running_count: int = 0
    error_count: int = 0
    frozen_count: int = 0
    createfailed_count: int = 0
    restarting_count: int = 0


class AllStatusCounts(StatusCounts, frozen=True, kw_only=True):
    redis: StatusCounts
    memcached: StatusCounts = StatusCounts()


class InstanceStatistic(msgspec.Struct, frozen=True, kw_only=True):
    """Memory (MB), keys and calls of the primaries; traffic and processor time of all nodes.

    `used_cpu` is the average percentage of one processor that a node has used since its start. Counters are null if a
    node does not respond, because the sum would be wrong without it.
    """

    instance_id: str
    max_memory: int
    input_kbps: str | None = None
    output_kbps: str | None = None
    keys: int | None = None
    used_memory: int | None = None
    cmd_get_count: int | None = None
    cmd_set_count: int | None = None
    used_cpu: str | None = None


class StatisticList(msgspec.Struct, frozen=True):
    statistics: list[InstanceStatistic]


def status_counts(by_status: Mapping[str, int], *, include_failure: bool) -> AllStatusCounts:
    counts = {f"{status.lower()}_count": number for status, number in by_status.items()}
    if not include_failure:
        counts.pop("createfailed_count", None)
    shown = {field: counts[field] for field in StatusCounts.__struct_fields__ if field in counts}
    redis = StatusCounts(**shown)
    return AllStatusCounts(redis=redis, **msgspec.structs.asdict(redis))


def statistic(instance: Instance, infos: Sequence[NodeInfo]) -> InstanceStatistic:
    max_memory = parse(instance.spec_code).capacity_mb
    if not all(info.fields for info in infos):
        return InstanceStatistic(instance_id=instance.id, max_memory=max_memory)
    primaries = [info for info in infos if info.role == "primary"]
    return InstanceStatistic(
        instance_id=instance.id,
        input_kbps=kilobits(infos, "input"),
        output_kbps=kilobits(infos, "output"),
        keys=sum(info.key_count for info in primaries),
        used_memory=int(sum(info.number("used_memory") for info in primaries)) // MEGABYTE,
        max_memory=max_memory,
        cmd_get_count=sum(info.calls("get") for info in infos),
        cmd_set_count=sum(info.calls("set") for info in primaries),
        used_cpu=f"{_cpu_percent(infos):.2f}",
    )


def _cpu_percent(infos: Sequence[NodeInfo]) -> float:
    used = sum(info.number("used_cpu_sys") + info.number("used_cpu_user") for info in infos)
    lived = sum(info.number("uptime_in_seconds") for info in infos)
    return 100 * used / lived if lived else 0.0
