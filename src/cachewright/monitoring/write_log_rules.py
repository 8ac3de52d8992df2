"""Rules of write logs: what is proven, and when a log ends. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.backups.log_objects import PART_BYTES
from cachewright.jobs.spec import LogPart
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.model.write_logs import WriteLog
from cachewright.valkey.append_only_files import number_of

SET_BACK = "the clock was set back"
GONE = "its files were rewritten too fast, or deleted"


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A shard whose writes are stored.

    :ivar node: its primary.
    :ivar ranges: slots that it owns; empty outside clusters.
    :ivar logs: its open logs.
    :ivar latest: latest second that any log of the instance has.
    :ivar mover: a task that may move or replace keys: the logs end before it.
    :ivar may_begin: whether the disk has room for another log.
    :ivar room: bytes that the shard may store besides; None for no limit.
    """

    instance: Instance
    node: Node
    ranges: tuple[tuple[int, int], ...]
    logs: Sequence[WriteLog]
    latest: int
    mover: Task | None
    may_begin: bool
    room: int | None = None

    def has_room(self, size: int) -> bool:
        """Whether a log may begin whose files have so many bytes now."""
        return self.may_begin and (self.room is None or size <= self.room)


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a primary has said.

    :ivar at: before it was asked, epoch milliseconds.
    :ivar latest: latest second that the clock had shown then.
    :ivar size: bytes of its append-only log, :ivar buffered: bytes of acknowledged writes that are not in it yet.
    :ivar process: :ivar base: of a log that it continues.
    """

    at: int
    latest: int
    size: int
    buffered: int
    process: str
    version: str
    base: str = ""

    def proves(self, before: "Look") -> bool:
        """Whether all that was acknowledged until `before` is in the files. A rewrite changes their size."""
        is_same = (self.process, self.base) == (before.process, before.base)
        return is_same and self.size >= before.size + before.buffered


def end_of(log: WriteLog, shard: Shard, look: Look) -> str | None:
    """Return why the primary of a shard does not continue a log; None if it does."""
    if log.node_id != shard.node.id:
        return "another node is the primary"
    if log.process != look.process:
        return "the node was restarted, or has been a replica"
    if log.ranges != shard.ranges or log.spec_code != shard.instance.spec_code:
        return "the shard has other slots, or the instance another type or size"
    return None


def proven(before: Look | None, now: Look, mover: Task | None, ahead: int = 0) -> int | None:
    """Return the last second whose writes are in the files; None if that is not known.

    :param ahead: milliseconds by which the clock of the looks is ahead of the one of tasks.
    """
    if before is None or not now.proves(before):
        return None
    until = before.at if mover is None else min(before.at, (mover.begin_time or 0) + ahead)
    return until // 1000 - 1


def follows(name: str, log: WriteLog) -> bool:
    """Whether a file is an increment after the first one of a log."""
    number, own = number_of(name), _numbers(log.stored)
    return number is not None and (not own or number > min(own))


def next_parts(log: WriteLog, sizes: Mapping[str, int], most: int) -> tuple[list[LogPart], dict[str, int], bool]:
    """Return at most so many next parts of a log, the bytes of each file that are stored after them, and whether that
    is everything.

    :param sizes: bytes of the present files.
    """
    stored = dict(log.stored)
    for name in sizes:
        if follows(name, log):
            stored.setdefault(name, 0)
    parts: list[LogPart] = []
    for name in sorted(stored, key=lambda name: number_of(name) or 0):
        size = sizes.get(name, 0)
        while stored[name] < size and len(parts) < most:
            length = min(PART_BYTES, size - stored[name])
            parts.append(LogPart(log.objects + len(parts), name, stored[name], length))
            stored[name] += length
        if stored[name] < size:
            return parts, stored, False
    return parts, stored, True


def has_gap(log: WriteLog, sizes: Mapping[str, int]) -> bool:
    """Whether a file of a log, or an increment between the first one and the present one, is missing."""
    if log.stored.keys() - sizes.keys():
        return True
    known = _numbers(log.stored) | _numbers(name for name in sizes if follows(name, log))
    return bool(known) and len(known) != max(known) - min(known) + 1


def _numbers(names: Iterable[str]) -> set[int]:
    """Return the numbers of the increments among files."""
    return {number for name in names if (number := number_of(name)) is not None}
