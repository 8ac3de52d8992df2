"""Write logs: what restores the data of an instance as it was at the end of any second. Pure.

A log is a base, which is the data of one shard, and all later writes of its primary in order. Times are epoch seconds.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

ATTRIBUTE = "write_log_hours"
"""Attribute of an instance: hours for which its write logs are kept. Without it, it has none."""

MOST_HOURS = 168

REWRITTEN = "a newer base replaces it"
EXPIRED = "it has expired"


class WriteLog(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar process: of the node; another one may not continue its files.
    :ivar base: name of the file with the base.
    :ivar spec_code: of the instance.
    :ivar ranges: first and last slot of each range that the shard owned; empty outside clusters.
    :ivar key: key of its objects, base64.
    :ivar created_at: epoch milliseconds.
    :ivar first: first second to which it can restore, :ivar last: the last one; None until the base is stored.
    :ivar objects: number of stored objects, :ivar size: bytes in them.
    :ivar stored: bytes of each file that are stored, by its name.
    :ivar ended: why it does not grow any more; None while it does.
    """

    id: str
    project_id: str
    instance_id: str
    shard: int
    node_id: str
    process: str
    base: str
    spec_code: str
    server_version: str
    ranges: tuple[tuple[int, int], ...]
    key: str
    created_at: int
    first: int
    last: int | None = None
    objects: int = 0
    size: int = 0
    stored: dict[str, int] = {}
    ended: str | None = None

    @property
    def folder(self) -> str:
        """Where its objects are, relative to the storage."""
        return f"logs/{self.id}"

    def has(self, second: int) -> bool:
        """Whether it can restore the data as it was at the end of this second."""
        return self.last is not None and self.first <= second <= self.last


class Window(msgspec.Struct, frozen=True):
    """Seconds to which an instance can be restored, both included."""

    first: int
    last: int


def chosen(logs: Iterable[WriteLog], second: int, slots: int) -> list[WriteLog]:
    """Return the logs that restore the data of all shards as it was at the end of a second, by shard. Empty if they do
    not have every key.

    :param slots: number of slots of a cluster.
    """
    found: dict[int, WriteLog] = {}
    for log in logs:
        other = found.get(log.shard)
        if log.has(second) and (other is None or log.first > other.first):
            found[log.shard] = log
    parts = [found[shard] for shard in sorted(found)]
    if not any(log.ranges for log in parts):
        return parts if len(parts) == 1 else []
    covered = sum(last - first + 1 for log in parts for first, last in log.ranges)
    is_whole = all(log.ranges for log in parts) and covered == slots and _are_apart(parts)
    return parts if is_whole else []


def _are_apart(logs: Sequence[WriteLog]) -> bool:
    """Whether no slot is in two logs."""
    ranges = sorted(part for log in logs for part in log.ranges)
    return all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def windows(logs: Sequence[WriteLog], slots: int) -> list[Window]:
    """Return the seconds to which an instance can be restored, oldest first."""
    begun: dict[int, list[int]] = defaultdict(list)
    ended: dict[int, list[int]] = defaultdict(list)
    for place, log in enumerate(logs):
        if log.last is not None:
            begun[log.first].append(place)
            ended[log.last + 1].append(place)
    present: dict[int, WriteLog] = {}
    found: list[Window] = []
    for first, after in itertools.pairwise(sorted(begun.keys() | ended.keys())):
        for place in ended.get(first, ()):
            del present[place]
        present.update((place, logs[place]) for place in begun.get(first, ()))
        if not chosen(present.values(), first, slots):
            continue
        if found and found[-1].last + 1 == first:
            found[-1] = Window(found[-1].first, after - 1)
        else:
            found.append(Window(first, after - 1))
    return found
