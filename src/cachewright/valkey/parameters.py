"""Parameters that the owner of an instance may change: ids, ranges, and settings on a node. Pure.

Ids, names and ranges are those of the cloud. Parameters that only the cloud's servers have are missing, and some that
only Valkey has are added, with ids from 1001. `appendonly` has only one value, because restarts and the supervisor rely
on the append-only file (docs/decisions/0021).

Source of the others: valkey.conf and `CONFIG SET` of Valkey 9.1.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

RESERVED_CONNECTIONS = 2048
"""Connections that a node accepts beyond the owner's `maxclients`. Valkey counts links of the cluster bus (two for each
other node), replicas, slot migrations and the control plane as clients, and reserves no connections for them."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_EVENT_CLASSES = "g$lshzxetd"
"""The classes that A stands for in notify-keyspace-events."""


class Parameter(msgspec.Struct, frozen=True):
    """A parameter. `name` is the same on the cloud and in Valkey; `default` is the value in new instances.

    :ivar need_restart: Valkey reads it at its start only.
    """

    id: str
    name: str
    default: str
    range: str
    kind: Literal["Integer", "Enum", "Regular"]
    description: str
    need_restart: bool = False

    def fault(self, value: str) -> str | None:
        """Return why the value is invalid, or None if it is valid."""
        if self.kind == "Integer":
            lowest, highest = map(int, self.range.split("-"))
            if not _NUMBER.fullmatch(value) or not lowest <= int(value) <= highest:
                return f"{self.name} is a number from {lowest} to {highest}"
        elif self.kind == "Enum" and value not in self.range.split(","):
            return f"{self.name} is one of {self.range}"
        elif self.kind == "Regular" and not re.fullmatch(self.range, value):
            return f"{self.name} matches {self.range}"
        return None


PARAMETERS = (
    Parameter("1", "timeout", "0", "0-7200", "Integer",
              "Seconds until the connection of an idle client is closed; 0 means never."),
    Parameter("2", "maxmemory-policy", "noeviction",
              "volatile-lru,allkeys-lru,volatile-lfu,allkeys-lfu,volatile-random,allkeys-random,volatile-ttl,noeviction",
              "Enum", "Eviction policy when the memory is full."),
    Parameter("3", "hash-max-ziplist-entries", "512", "1-10000", "Integer",
              "Maximum number of entries of a hash in the compact encoding."),
    Parameter("4", "hash-max-ziplist-value", "64", "1-10000", "Integer",
              "Maximum size of an entry of a hash in the compact encoding, in bytes."),
    Parameter("7", "set-max-intset-entries", "512", "1-10000", "Integer",
              "Maximum number of entries of a set of integers in the compact encoding."),
    Parameter("8", "zset-max-ziplist-entries", "128", "1-10000", "Integer",
              "Maximum number of entries of a sorted set in the compact encoding."),
    Parameter("9", "zset-max-ziplist-value", "64", "1-10000", "Integer",
              "Maximum size of an entry of a sorted set in the compact encoding, in bytes."),
    Parameter("10", "latency-monitor-threshold", "0", "0-86400000", "Integer",
              "Minimum latency of an event in the latency log, in milliseconds; 0 disables it."),
    Parameter("11", "maxclients", "10000", "1000-50000", "Integer", "Maximum number of connected clients of a node."),
    Parameter("13", "notify-keyspace-events", "", "([KE]+([A]|[g$lshzxe]+)){0,11}", "Regular",
              "Keyspace events that are published to subscribers."),
    Parameter("14", "repl-backlog-size", "10485760", "16384-1073741824", "Integer",
              "Size of the replication backlog in bytes."),
    Parameter("15", "repl-backlog-ttl", "3600", "0-604800", "Integer",
              "Seconds without a replica until the backlog is freed; 0 means never."),
    Parameter("16", "appendfsync", "everysec", "no,always,everysec", "Enum",
              "When the append-only file is synchronized to disk."),
    Parameter("17", "appendonly", "yes", "yes", "Enum",
              "Whether writes are logged to an append-only file. Restarts rely on it, so it cannot be disabled."),
    Parameter("18", "slowlog-log-slower-than", "10000", "0-1000000", "Integer",
              "Minimum duration of a command in the slow log, in microseconds."),
    Parameter("19", "slowlog-max-len", "128", "0-1000", "Integer", "Maximum number of entries in the slow log."),
    Parameter("20", "lua-time-limit", "5000", "100-5000", "Integer",
              "Milliseconds until a running script can be killed."),
    Parameter("21", "repl-timeout", "60", "30-3600", "Integer",
              "Seconds without an answer until a replica is disconnected."),
    Parameter("22", "proto-max-bulk-len", "536870912", "1048576-536870912", "Integer",
              "Maximum size of one element of a request, in bytes."),
    Parameter("1001", "maxmemory-samples", "5", "1-64", "Integer",
              "Number of keys that an eviction compares; more are more exact, and slower."),
    Parameter("1002", "maxmemory-eviction-tenacity", "10", "0-100", "Integer",
              "How long a node may evict keys at a time; 100 is without a limit."),
    Parameter("1003", "lfu-log-factor", "10", "0-1000", "Integer",
              "How many accesses raise the access counter of a key with an LFU policy."),
    Parameter("1004", "lfu-decay-time", "1", "0-10000", "Integer",
              "Minutes until the access counter of a key is lowered; 0 means never."),
    Parameter("1005", "active-expire-effort", "1", "1-10", "Integer",
              "How much time a node spends on the deletion of expired keys."),
    Parameter("1006", "lazyfree-lazy-eviction", "yes", "yes,no", "Enum",
              "Whether evicted keys are freed in the background."),
    Parameter("1007", "lazyfree-lazy-expire", "yes", "yes,no", "Enum",
              "Whether expired keys are freed in the background."),
    Parameter("1008", "lazyfree-lazy-server-del", "yes", "yes,no", "Enum",
              "Whether values that a command replaces are freed in the background."),
    Parameter("1009", "lazyfree-lazy-user-del", "yes", "yes,no", "Enum",
              "Whether DEL frees keys in the background, as UNLINK."),
    Parameter("1010", "lazyfree-lazy-user-flush", "yes", "yes,no", "Enum",
              "Whether FLUSHALL and FLUSHDB free keys in the background by default."),
    Parameter("1011", "set-max-listpack-entries", "128", "0-10000", "Integer",
              "Maximum number of entries of a set in the compact encoding."),
    Parameter("1012", "set-max-listpack-value", "64", "0-10000", "Integer",
              "Maximum size of an entry of a set in the compact encoding, in bytes."),
    Parameter("1013", "stream-node-max-entries", "100", "0-100000", "Integer",
              "Maximum number of entries in one node of a stream; 0 means no limit."),
    Parameter("1014", "stream-node-max-bytes", "4096", "0-1048576", "Integer",
              "Maximum size of one node of a stream, in bytes; 0 means no limit."),
    Parameter("1015", "hll-sparse-max-bytes", "3000", "0-16000", "Integer",
              "Maximum size of a HyperLogLog in the sparse encoding, in bytes."),
    Parameter("1016", "tracking-table-max-keys", "1000000", "0-10000000", "Integer",
              "Maximum number of keys of client-side caches; 0 means no limit."),
    Parameter("1017", "tcp-keepalive", "300", "0-7200", "Integer",
              "Seconds between probes of idle connections; 0 means none."),
    Parameter("1018", "latency-tracking", "yes", "yes,no", "Enum",
              "Whether latencies of each command are counted (INFO latencystats)."),
    Parameter("1019", "tcp-backlog", "511", "128-65535", "Integer",
              "Maximum number of connections that wait to be accepted.", need_restart=True),
)  # fmt: skip
BY_NAME: Mapping[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}
BY_ID: Mapping[str, Parameter] = {parameter.id: parameter for parameter in PARAMETERS}


def values(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all parameters of an instance whose owner has changed `parameters`."""
    return {parameter.name: parameters.get(parameter.name, parameter.default) for parameter in PARAMETERS}


def node_settings(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a node, by name, for these parameters."""
    return {name: _shifted(name, value, RESERVED_CONNECTIONS) for name, value in parameters.items()}


def read_settings(found: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters, for these settings of a node. Other settings are ignored."""
    return {name: _shifted(name, found[name], -RESERVED_CONNECTIONS) for name in BY_NAME if name in found}


def settable(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that a running node can change."""
    return {name: value for name, value in parameters.items() if not BY_NAME[name].need_restart}


def deviations(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the `wanted` values that differ from those in `found`."""
    return {name: value for name, value in wanted.items() if not same(name, found.get(name), value)}


def same(name: str, left: str | None, right: str) -> bool:
    """Whether two values are equal to Valkey, which normalizes some."""
    if name == "notify-keyspace-events" and left is not None:
        return _event_classes(left) == _event_classes(right)
    return left == right


def real_values(found: Iterable[Mapping[str, str]], recorded: Mapping[str, str]) -> dict[str, str]:
    """Return the `recorded` value of each parameter if all nodes have it, else the value of a node that differs."""
    real = dict(recorded)
    for node in found:
        for name in deviations(node, recorded):
            real[name] = node.get(name, "")
    return real


def _event_classes(text: str) -> set[str]:
    return set(text.replace("A", _EVENT_CLASSES))


def _shifted(name: str, value: str, by: int) -> str:
    return str(max(int(value) + by, 0)) if name == "maxclients" else value
