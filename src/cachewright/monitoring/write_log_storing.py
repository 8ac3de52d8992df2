"""Store what the primary of one shard has written since: the files of its append-only log, by hard links.

A log ends where its files may not be continued: at another process, another primary, or other slots. Valkey deletes
files that a rewrite has replaced; their links stay until every log that needs them has stored them.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cachewright.backups.encryption import new_key
from cachewright.hosts.host import LINKS
from cachewright.model.instances import Node
from cachewright.model.write_logs import REWRITTEN, WriteLog
from cachewright.monitoring.write_log_files import LogFiles, log_files
from cachewright.monitoring.write_log_rules import (
    GONE,
    SET_BACK,
    Look,
    Shard,
    end_of,
    follows,
    has_gap,
    next_parts,
    proven,
)
from cachewright.monitoring.write_log_times import NodeClock, SeenClock
from cachewright.operations.context import OperationContext
from cachewright.store import write_logs
from cachewright.threads import in_background
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.single_request import info, request_once

_PARTS_AT_ONCE = 8
_LEAST_BYTES, _LONGEST_MS = 4 * 1024 * 1024, 5_000
"""What is stored only when there is more than this, or after that time."""

_SECTIONS = ("server", "replication", "persistence")


class ShardStoring:
    """The logs of one shard."""

    def __init__(self, context: OperationContext, clock: SeenClock | NodeClock) -> None:
        """:param clock: of the host of the primary."""
        self._context = context
        self._clock = clock
        self._look: Look | None = None
        self._stored_at = 0
        self._read_process: str | None = None
        self._latest = 0

    @property
    def ahead(self) -> int:
        """Milliseconds by which the clock of the host is ahead of that of the server."""
        return self._clock.ahead

    async def follow(self, shard: Shard) -> None:
        """One round for a shard. Raises one of NODE_GONE, NodeRefused, HostSilent, StorageFailed."""
        node, own_files = shard.node, log_files(self._context, shard.node)
        look = await self._ask(shard)
        if look is None:
            return
        in_files = self._latest if look.process == self._read_process else 0
        if look.at // 1000 < max(look.latest, shard.latest, in_files):
            await self._set_back(node, shard.logs)
            return
        open_logs = await self._continued(shard.logs, lambda log: end_of(log, shard, look))
        if not open_logs:
            await self._context.host.delete_folders(node.id, LINKS)
        linked = await own_files.link({name for log in open_logs for name in log.stored})
        if linked.is_full:
            await self._continued(open_logs, lambda _: f"the disk of host {node.host_name} is almost full")
        files, sizes = linked.files, linked.sizes
        if len(files) < 2:  # a node that starts has no increment yet
            return
        if await self._is_behind(own_files, look, sizes):
            await self._set_back(node, open_logs)
            return
        before, self._look = self._look, msgspec.structs.replace(look, base=files[0])
        open_logs = await self._continued(open_logs, lambda log: GONE if has_gap(log, sizes) else None)
        has_room = linked.has_room and shard.has_room(sum(sizes[name] for name in files))
        may_begin = shard.mover is None and has_room
        if may_begin and all(log.base != files[0] for log in open_logs):
            open_logs.append(await self._begin(shard, look, files))
        if open_logs and (shard.mover or self._is_due(open_logs, sizes)):
            second = proven(before, self._look, shard.mover, self._clock.ahead)
            await self._store_all(own_files, open_logs, sizes, second)

    async def _set_back(self, node: Node, logs: Sequence[WriteLog]) -> None:
        """End the logs. Nothing is proven until the clock shows a second that is new."""
        self._look = None
        await self._continued(logs, lambda _: SET_BACK)
        await self._context.host.delete_folders(node.id, LINKS)

    async def _is_behind(self, own_files: LogFiles, look: Look, sizes: Mapping[str, int]) -> bool:
        """Whether a time in the files is later than the clock. A process writes no earlier ones, so they are read once
        for each."""
        if self._read_process != look.process:
            self._latest = await own_files.latest_time(sizes, self._clock)
            self._read_process = look.process
        return self._latest > self._clock() // 1000

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
        has_new = any(follows(name, log) and name not in log.stored for log in logs for name in sizes)
        waiting = sum(sizes.get(name, 0) - log.stored[name] for log in logs for name in log.stored)
        is_late = self._clock() - self._stored_at >= _LONGEST_MS
        return is_late or has_new or logs[-1].last is None or waiting >= _LEAST_BYTES

    async def _store_all(
        self, own_files: LogFiles, logs: Sequence[WriteLog], sizes: Mapping[str, int], proven_second: int | None
    ) -> None:
        """Store what is new. The log with the newest base, which is the last one, replaces the others when it has the
        last second that they have."""
        *others, newest = [await self._store(own_files, log, sizes, proven_second) for log in logs]
        self._stored_at = self._clock()
        for log in others:
            if newest.last is not None and log.last is not None and log.last >= newest.first:
                await self._end(log, REWRITTEN)

    async def _ask(self, shard: Shard) -> Look | None:
        """Return what the primary says; None unless it is a primary with its data."""
        at = self._clock()
        latest = self._clock.latest
        said = await info(shard.node, self._context.access(shard.instance), _SECTIONS, ANSWER_SECONDS)
        if isinstance(self._clock, NodeClock):
            at = self._clock.see(int(said["server_time_usec"]) // 1000)
            latest = self._clock.latest
        if said["role"] != "master" or said["loading"] != "0" or said["aof_enabled"] != "1":
            return None
        # The second one changes when a node has been a replica in between.
        process = f"{said['run_id']}/{said['second_repl_offset']}"
        size, buffered = int(said["aof_current_size"]), int(said["aof_buffer_length"])
        version = said["valkey_version"]
        return Look(at=at, latest=latest, size=size, buffered=buffered, process=process, version=version)

    async def _begin(self, shard: Shard, look: Look, files: Sequence[str]) -> WriteLog:
        # A node that an earlier release has started does not write the time.
        instance, node = shard.instance, shard.node
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
            base=files[0],
            spec_code=instance.spec_code,
            server_version=look.version,
            ranges=shard.ranges,
            key=new_key(),
            created_at=now,
            first=max(self._clock.latest, shard.latest, self._latest) + 1,
            stored=dict.fromkeys(files, 0),
        )

        def write() -> None:
            with self._context.database.write() as connection:
                write_logs.add(connection, log)

        await in_background(write)
        return log

    async def _store(
        self, own_files: LogFiles, log: WriteLog, sizes: Mapping[str, int], proven_second: int | None
    ) -> WriteLog:
        """Store the next parts of a log, and return its new record.

        :param proven_second: last second whose writes are in the files; None if that is not known.
        """
        parts, stored, is_complete = next_parts(log, sizes, _PARTS_AT_ONCE)
        await own_files.store(log, parts)
        objects, size = log.objects + len(parts), log.size + sum(part.length for part in parts)
        last = log.last
        if is_complete and proven_second is not None and proven_second >= log.first:
            last = max(last or 0, proven_second)
        changed = msgspec.structs.replace(log, stored=stored, objects=objects, size=size, last=last)
        if changed == log or await in_background(self._record, log, changed):
            return changed
        if await in_background(self._is_deleted, log):  # its objects may have been deleted before these were stored
            await (await self._context.marked_backup_storage()).remove(log.folder)
        return log

    def _record(self, log: WriteLog, changed: WriteLog) -> bool:
        """Record what is stored, unless the log has ended meanwhile, or another round has stored more."""
        values = {"stored": changed.stored, "objects": changed.objects, "size": changed.size, "last": changed.last}
        with self._context.database.write() as connection:
            return write_logs.change(connection, log, **values)

    def _is_deleted(self, log: WriteLog) -> bool:
        with self._context.database.read() as connection:
            return write_logs.is_deleted(connection, log.id)

    async def _end(self, log: WriteLog, reason: str) -> None:
        def write() -> None:
            with self._context.database.write() as connection:
                write_logs.end(connection, log.id, reason)

        await in_background(write)
