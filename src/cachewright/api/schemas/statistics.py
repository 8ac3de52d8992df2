"""ListNumberOfInstancesInDifferentStatus and ListStatisticsOfRunningInstances."""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.api.schemas.nodes import kilobits
from cachewright.flavors import parse
from cachewright.model.instances import Instance
from cachewright.monitoring.inspection import NodeInfo

_MEGABYTE = 1024 * 1024


class StatusQuery(msgspec.Struct, frozen=True):
    """Anything but `true` is false."""

    include_failure: str = ""


class StatusCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that are being deleted are in none of them: the contract has no counter for it."""

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
    """Of the masters, whose data is the instance's; traffic and processor of all nodes. Memory in MB.

    `used_cpu` is the percent of one processor that a node has used on average since it started. Counters are null
    where a node does not answer: a sum without it would be false.
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
    known = {field: counts[field] for field in StatusCounts.__struct_fields__ if field in counts}
    redis = StatusCounts(**known)
    return AllStatusCounts(redis=redis, **msgspec.structs.asdict(redis))


def statistic(instance: Instance, sights: Sequence[NodeInfo]) -> InstanceStatistic:
    max_memory = parse(instance.spec_code).capacity_mb
    if not all(sight.said for sight in sights):
        return InstanceStatistic(instance_id=instance.id, max_memory=max_memory)
    masters = [sight for sight in sights if sight.role == "primary"]
    return InstanceStatistic(
        instance_id=instance.id,
        input_kbps=kilobits(sights, "input"),
        output_kbps=kilobits(sights, "output"),
        keys=sum(sight.key_count for sight in masters),
        used_memory=int(sum(sight.number("used_memory") for sight in masters)) // _MEGABYTE,
        max_memory=max_memory,
        cmd_get_count=sum(sight.calls("get") for sight in sights),
        cmd_set_count=sum(sight.calls("set") for sight in masters),
        used_cpu=f"{_cpu_percent(sights):.2f}",
    )


def _cpu_percent(sights: Sequence[NodeInfo]) -> float:
    used = sum(sight.number("used_cpu_sys") + sight.number("used_cpu_user") for sight in sights)
    lived = sum(sight.number("uptime_in_seconds") for sight in sights)
    return 100 * used / lived if lived else 0.0
