"""ListConfigurations, and what of an instance's settings is as it is because the feature is not served: the IP
whitelist and automatic key analysis. Types follow the SDK's models."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from cachewright.api.wire import iso
from cachewright.store.records import Instance


class Parameter(msgspec.Struct, frozen=True):
    """A row of the table below. `name` is the cloud's and one that the server knows; `default` is what every instance
    is started with."""

    id: str
    name: str
    default: str
    range: str
    kind: Literal["Integer", "Enum", "Regular"]
    description: str


PARAMETERS = (
    Parameter("1", "timeout", "0", "0-7200", "Integer",
              "Seconds after which the connection of an idle client is closed; 0 for never."),
    Parameter("2", "maxmemory-policy", "noeviction",
              "volatile-lru,allkeys-lru,volatile-lfu,allkeys-lfu,volatile-random,allkeys-random,volatile-ttl,noeviction",
              "Enum", "What is removed when the memory is full."),
    Parameter("3", "hash-max-ziplist-entries", "512", "1-10000", "Integer",
              "Up to how many entries a hash is kept in the compact encoding."),
    Parameter("4", "hash-max-ziplist-value", "64", "1-10000", "Integer",
              "Up to which size of an entry a hash is kept in the compact encoding."),
    Parameter("7", "set-max-intset-entries", "512", "1-10000", "Integer",
              "Up to how many entries a set of integers is kept in the compact encoding."),
    Parameter("8", "zset-max-ziplist-entries", "128", "1-10000", "Integer",
              "Up to how many entries a sorted set is kept in the compact encoding."),
    Parameter("9", "zset-max-ziplist-value", "64", "1-10000", "Integer",
              "Up to which size of an entry a sorted set is kept in the compact encoding."),
    Parameter("10", "latency-monitor-threshold", "0", "0-86400000", "Integer",
              "Milliseconds from which an event is logged as a latency spike; 0 for none."),
    Parameter("11", "maxclients", "10000", "1000-50000", "Integer", "How many clients a node takes at once."),
    Parameter("13", "notify-keyspace-events", "", "([KE]+([A]|[g$lshzxe]+)){0,11}", "Regular",
              "Which events of the key space subscribers are told of."),
    Parameter("14", "repl-backlog-size", "10485760", "16384-1073741824", "Integer",
              "Bytes kept for a replica that was away for a while."),
    Parameter("15", "repl-backlog-ttl", "3600", "0-604800", "Integer",
              "Seconds after which the backlog is freed when no replica is left; 0 for never."),
    Parameter("16", "appendfsync", "everysec", "no,always,everysec", "Enum",
              "When the append-only file is forced to the disk."),
    Parameter("17", "appendonly", "yes", "yes,no", "Enum", "Whether every write goes to an append-only file."),
    Parameter("18", "slowlog-log-slower-than", "10000", "0-1000000", "Integer",
              "Microseconds from which a command is logged as slow."),
    Parameter("19", "slowlog-max-len", "128", "0-1000", "Integer", "How many slow commands are remembered."),
    Parameter("20", "lua-time-limit", "5000", "100-5000", "Integer",
              "Milliseconds after which a script can be ended by others."),
    Parameter("21", "repl-timeout", "60", "30-3600", "Integer", "Seconds after which a silent replica is dropped."),
    Parameter("22", "proto-max-bulk-len", "536870912", "1048576-536870912", "Integer",
              "Bytes that one element of a request may have."),
)  # fmt: skip
"""Ids, names and ranges are the cloud's; parameters that only its own servers have are left out."""


class ConfigItem(msgspec.Struct, frozen=True, kw_only=True):
    param_id: str
    param_name: str
    param_value: str
    default_value: str
    value_range: str
    value_type: str
    description: str
    need_restart: bool = False


class Configurations(msgspec.Struct, frozen=True, kw_only=True):
    """`config_time` is when the nodes got their configuration; `status` is the instance's."""

    instance_id: str
    config_time: str | None
    config_status: Literal["SUCCESS"] = "SUCCESS"
    status: str
    redis_config: list[ConfigItem]


class WhitelistGroup(msgspec.Struct, frozen=True):
    group_name: str
    ip_list: list[str]


class Whitelist(msgspec.Struct, frozen=True):
    """Whitelists are not served, so an instance has none, and it is off."""

    instance_id: str
    enable_whitelist: bool = False
    whitelist: tuple[WhitelistGroup, ...] = ()


class AutoScan(msgspec.Struct, frozen=True):
    """Key analysis is not served, so none is planned."""

    instance_id: str
    enable_auto_scan: bool = False
    schedule_at: tuple[str, ...] = ()
    updated_at: str | None = None


def configurations(instance: Instance, values: Mapping[str, str]) -> Configurations:
    """`values`: by the names of PARAMETERS, as a node has them."""
    return Configurations(
        instance_id=instance.id,
        config_time=iso(instance.launched_at),
        status=instance.status,
        redis_config=[
            ConfigItem(
                param_id=parameter.id,
                param_name=parameter.name,
                param_value=values[parameter.name],
                default_value=parameter.default,
                value_range=parameter.range,
                value_type=parameter.kind,
                description=parameter.description,
            )
            for parameter in PARAMETERS
        ],
    )
