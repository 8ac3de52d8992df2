"""Store what the primary of one shard has written since: the files of its append-only log, by hard links.

A log ends where its files may not be continued: at another process, another primary, or other slots. Valkey deletes
files that a rewrite has replaced; their links stay until every log that needs them has stored them.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence, Set

import msgspec

from cachewright.backups.encryption import new_key
from cachewright.backups.log_objects import PART_BYTES, Part, object_name, seal
from cachewright.backups.storage import Storage
from cachewright.clock import Clock
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.model.write_logs import REWRITTEN, WriteLog
from cachewright.operations.context import OperationContext
from cachewright.store import write_logs
from cachewright.threads import in_background
from cachewright.valkey import append_only_files
from cachewright.valkey.append_only_files import LogFile, number_of
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.config import DATA_FOLDER
from cachewright.valkey.single_request import info, request_once

LINKS = "write-log"
"""Name of the folder of a node with the links."""

_PARTS_AT_ONCE = 8
_LEAST_BYTES, _LONGEST_MS = 4 * 1024 * 1024, 5_000
"""What is stored only when there is more than this, or after that time."""

_TRIES = 3
_TOO_FAST = "its files were rewritten too fast"
_SECTIONS = ("server", "replication", "persistence")


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a primary has said.

    :ivar at: before it was asked, epoch milliseconds.
    :ivar size: bytes of its append-only log, :ivar buffered: bytes of acknowledged writes that are not in it yet.
    :ivar process: :ivar base: of a log that it continues.
    """

    at: int
    size: int
    buffered: int
    process: str
    version: str
    base: str = ""

    def proves(self, before: "Look") -> bool:
        """Whether all that was acknowledged until `before` is in the files. A rewrite changes their size."""
        is_same = (self.process, self.base) == (before.process, before.base)
        return is_same and self.size >= before.size + before.buffered


class ShardStoring:
    """The logs of one shard."""

    def __init__(self, context: OperationContext, clock: Clock) -> None:
        self._context = context
        self._clock = clock
        self._look: Look | None = None
        self._stored_at = 0

    async def follow(
        self,
        instance: Instance,
        node: Node,
        ranges: tuple[tuple[int, int], ...],
        logs: Sequence[WriteLog],
        mover: Task | None,
    ) -> None:
        """One round for the primary of a shard, with the open logs of that shard. Raises one of NODE_GONE, NodeRefused,
        StorageFailed.

        :param mover: a task that may move or replace keys: the logs end before it.
        """
        look = await self._ask(instance, node)
        if look is None:
            return
        open_logs = await self._continued(logs, lambda log: _end_of(log, node, ranges, look, instance))
        if not open_logs:
            await self._context.host.delete_folders(node.id, LINKS)
        files, sizes = await self._link(node, {name for log in open_logs for name in log.stored})
        if len(files) < 2:  # a node that starts has no increment yet
            return
        before, self._look = self._look, msgspec.structs.replace(look, base=files[0].name)
        open_logs = await self._continued(open_logs, lambda log: _TOO_FAST if _has_gap(log, sizes) else None)
        if mover is None and all(log.base != files[0].name for log in open_logs):
            open_logs.append(await self._begin(instance, node, ranges, look, files))
        if open_logs and (mover or self._is_due(open_logs, sizes)):
            await self._store_all(node, open_logs, sizes, _proven(before, self._look, mover))

    async def _continued(self, logs: Sequence[WriteLog], ends: Callable[[WriteLog], str | None]) -> list[WriteLog]:
        """End the logs for which there is a reason, and return the others."""
        found = []
        for log in logs:
            if reason := ends(log):
                await self._end(log, reason)
            else:
                found.append(log)
        return found

    def _is_due(self, logs: Sequence[WriteLog], sizes: Mapping[str, int]) -> bool:
        """Whether something is to be stored now. A new file is, so that its name is known."""
        has_new = any(_follows(name, log) and name not in log.stored for log in logs for name in sizes)
        waiting = sum(sizes.get(name, 0) - log.stored[name] for log in logs for name in log.stored)
        is_late = self._clock() - self._stored_at >= _LONGEST_MS
        return is_late or has_new or logs[-1].last is None or waiting >= _LEAST_BYTES

    async def _store_all(
        self, node: Node, logs: Sequence[WriteLog], sizes: Mapping[str, int], proven: int | None
    ) -> None:
        """Store what is new. The log with the newest base, which is the last one, replaces the others when it has the
        last second that they have."""
        *others, newest = [await self._store(node, log, sizes, proven) for log in logs]
        self._stored_at = self._clock()
        for log in others:
            if newest.last is not None and log.last is not None and log.last >= newest.first:
                await self._end(log, REWRITTEN)

    async def _ask(self, instance: Instance, node: Node) -> Look | None:
        """Return what the node says; None unless it is a primary with its data."""
        at = self._clock()
        said = await info(node, self._context.access(instance), _SECTIONS, ANSWER_SECONDS)
        if said["role"] != "master" or said["loading"] != "0" or said["aof_enabled"] != "1":
            return None
        # The second one changes when a node has been a replica in between.
        process = f"{said['run_id']}/{said['second_repl_offset']}"
        size, buffered = int(said["aof_current_size"]), int(said["aof_buffer_length"])
        return Look(at=at, size=size, buffered=buffered, process=process, version=said["valkey_version"])

    async def _link(self, node: Node, kept: Set[str]) -> tuple[list[LogFile], Mapping[str, int]]:
        """Link the present files. Return them, and the sizes of all that are linked. A rewrite may delete files
        meanwhile."""
        host = self._context.host
        for left in reversed(range(_TRIES)):
            text = await host.read_file(node.id, f"{DATA_FOLDER}/{append_only_files.MANIFEST}")
            files = append_only_files.parse(text or "")
            paths = [f"{DATA_FOLDER}/{file.name}" for file in files]
            try:
                return files, await host.link_files(node.id, paths, kept, LINKS)
            except FileNotFoundError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _begin(
        self,
        instance: Instance,
        node: Node,
        ranges: tuple[tuple[int, int], ...],
        look: Look,
        files: Sequence[LogFile],
    ) -> WriteLog:
        # A node that an earlier release has started does not write the time.
        setting = ("CONFIG", "SET", "aof-timestamp-enabled", "yes")
        await request_once(node, self._context.access(instance), [setting], ANSWER_SECONDS)
        now = self._clock()
        log = WriteLog(
            id=str(uuid.uuid4()),
            project_id=instance.project_id,
            instance_id=instance.id,
            shard=node.shard,
            node_id=node.id,
            process=look.process,
            base=files[0].name,
            spec_code=instance.spec_code,
            server_version=look.version,
            ranges=ranges,
            key=new_key(),
            created_at=now,
            first=now // 1000 + 1,
            stored={file.name: 0 for file in files},
        )

        def write() -> None:
            with self._context.database.write() as connection:
                write_logs.add(connection, log)

        await in_background(write)
        return log

    async def _store(self, node: Node, log: WriteLog, sizes: Mapping[str, int], proven: int | None) -> WriteLog:
        """Store the next parts of a log, and return its new record.

        :param proven: last second whose writes are in the files; None if that is not known.
        """
        stored, objects, size = dict(log.stored), log.objects, log.size
        for name in sizes:
            if _follows(name, log):
                stored.setdefault(name, 0)
        names = sorted(stored, key=lambda name: number_of(name) or 0)
        left, is_complete = _PARTS_AT_ONCE, True
        storage: Storage | None = None
        for name in names:
            while stored[name] < sizes.get(name, 0) and left:
                content = await self._context.host.read_part(
                    node.id, f"{LINKS}/{name}", stored[name], min(PART_BYTES, sizes[name] - stored[name])
                )
                storage = storage or await self._context.marked_backup_storage()
                part = Part(name, stored[name])
                sealed = await in_background(seal, log, objects, part, content)
                await storage.put(object_name(log, objects), sealed)
                objects, size, left = objects + 1, size + len(content), left - 1
                stored[name] += len(content)
            if stored[name] < sizes.get(name, 0):
                is_complete = False
                break
        last = log.last
        if is_complete and proven is not None and proven >= log.first:
            last = max(last or 0, proven)
        changed = msgspec.structs.replace(log, stored=stored, objects=objects, size=size, last=last)

        def write() -> None:
            with self._context.database.write() as connection:
                write_logs.change(connection, log.id, stored=stored, objects=objects, size=size, last=last)

        if changed != log:
            await in_background(write)
        return changed

    async def _end(self, log: WriteLog, reason: str) -> None:
        def write() -> None:
            with self._context.database.write() as connection:
                write_logs.end(connection, log.id, reason)

        await in_background(write)


def _end_of(
    log: WriteLog, node: Node, ranges: tuple[tuple[int, int], ...], look: Look, instance: Instance
) -> str | None:
    """Return why a primary does not continue a log; None if it does."""
    if log.node_id != node.id:
        return "another node is the primary"
    if log.process != look.process:
        return "the node was restarted, or has been a replica"
    if log.ranges != ranges or log.spec_code != instance.spec_code:
        return "the shard has other slots, or the instance another type or size"
    return None


def _proven(before: Look | None, now: Look, mover: Task | None) -> int | None:
    """Return the last second whose writes are in the files; None if that is not known."""
    if before is None or not now.proves(before):
        return None
    until = before.at if mover is None else min(before.at, mover.begin_time or 0)
    return until // 1000 - 1


def _follows(name: str, log: WriteLog) -> bool:
    """Whether a file is an increment after the first one of a log."""
    number, own = number_of(name), [found for name in log.stored if (found := number_of(name)) is not None]
    return number is not None and (not own or number > min(own))


def _has_gap(log: WriteLog, sizes: Mapping[str, int]) -> bool:
    """Whether an increment between the first one of a log and the present one is missing."""
    own = {found for name in log.stored if (found := number_of(name)) is not None}
    later = {found for name in sizes if _follows(name, log) and (found := number_of(name)) is not None}
    known = own | later
    return bool(known) and len(known) != max(known) - min(known) + 1
