"""The snapshots of all shards of an instance, received on the host of the server or on those of the nodes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import msgspec

from cachewright import errors
from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import SavedShard
from cachewright.hosts.server_binary import version_key
from cachewright.jobs.receiver import DiskFailed
from cachewright.jobs.results import Counted, Opened, Received
from cachewright.model.instances import Node
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import snapshot_moment
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused
from cachewright.valkey.rdb_stream import Position
from cachewright.valkey.replication import replication_of
from cachewright.valkey.single_request import info
from cachewright.valkey.snapshot_moment import Moment
from cachewright.valkey.topology import Member

Given = TypeVarTuple("Given")
Result = TypeVar("Result")

_POLL_SECONDS = 0.25
_LONGEST_LAG_BYTES = 1024 * 1024
"""Lag of a replica above which the primary makes the snapshot."""

_BUSY = "another child process of node"
_CHILDREN = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress")


class Source(msgspec.Struct, frozen=True):
    """:ivar primary: of the shard. :ivar node: makes the snapshot: a replica, or the primary itself.
    :ivar slots: that the shard owns; none outside clusters.
    """

    primary: Node
    node: Node
    slots: tuple[tuple[int, int], ...] = ()


async def sources(
    leads: Mapping[int, Node], nodes: Sequence[Node], members: Mapping[str, Member], access: Access, *, is_cluster: bool
) -> dict[int, Source]:
    """Return the source of each shard: a replica that has almost everything, so that clients of the primary do not feel
    the snapshot; the primary where there is none. Raises one of NODE_GONE or NodeRefused."""
    found = {}
    for shard, lead in leads.items():
        node = await _replica(lead, [other for other in nodes if other.shard == shard and other is not lead], access)
        ranges = members[lead.id].slots if is_cluster else ()
        found[shard] = Source(lead, node or lead, tuple((slots.first, slots.last) for slots in ranges))
    return found


async def _replica(lead: Node, others: Sequence[Node], access: Access) -> Node | None:
    offset = (await replication_of(lead, access)).offset
    for other in others:
        with suppress(*NODE_GONE, NodeRefused):
            state = await replication_of(other, access)
            if state.role == "replica" and state.is_linked and offset - state.offset < _LONGEST_LAG_BYTES:
                return other
    return None


class Receiver(Protocol):
    """Receives the snapshot of one node. Methods raise one of NODE_GONE, NodeRefused, HostSilent or DiskFailed, and
    ActionFailed for what else a host cannot do."""

    async def open(self, *, by_slot: bool) -> Opened: ...

    async def begin_after(self, offset: int) -> Position: ...

    async def receive(self, raise_if_cancelled: Callable[[], None]) -> Received: ...

    @property
    def counted(self) -> Counted: ...

    async def update(self) -> None: ...

    async def close(self) -> None: ...


class Snapshot:
    """Receives the snapshots of one attempt."""

    def __init__(
        self, step: StepContext, access: Access, found: Mapping[int, Source], receivers: Mapping[int, Receiver]
    ) -> None:
        """:param receivers: by shard."""
        self._step = step
        self._access = access
        self._sources = found
        self._receivers = receivers
        self._memory: dict[int, int] = {}
        self.server_version = ""

    async def begin(self, *, pause: bool) -> Moment:
        """Begin the snapshot of each shard, at one moment with `pause`. Raises one of NODE_GONE, NodeRefused or
        HostSilent."""
        try:
            for source in self._sources.values():
                await self._wait_for_children(source.node)
            versions = []
            for shard, source in self._sources.items():
                opened = await self._receivers[shard].open(by_slot=bool(source.slots))
                versions.append(opened.server_version)
                self._memory[shard] = opened.memory
            self.server_version = max(versions, key=version_key)
            leads = {shard: source.primary for shard, source in self._sources.items()}
            begins = {shard: receiver.begin_after for shard, receiver in self._receivers.items()}
            return await snapshot_moment.begin(leads, begins, self._access, pause=pause)
        except BaseException:
            await asyncio.shield(self._close())
            raise

    async def _close(self) -> None:
        await asyncio.gather(*(receiver.close() for receiver in self._receivers.values()))

    async def receive(self, moment: Moment) -> tuple[SavedShard, ...]:
        """Store the snapshots on their hosts. Raises as `Receiver`."""
        receiving = [asyncio.create_task(self._receive(shard, moment)) for shard in self._sources]
        watching = asyncio.create_task(self._report())
        try:
            return tuple(await asyncio.gather(*receiving))
        finally:
            for task in (*receiving, watching):
                task.cancel()
            await asyncio.gather(*receiving, watching, return_exceptions=True)
            await self._close()

    async def _receive(self, shard: int, moment: Moment) -> SavedShard:
        received = await self._receivers[shard].receive(self._step.raise_if_cancelled)
        position = moment.positions[shard]
        return SavedShard(
            shard=shard,
            key=new_key(),
            size=received.size,
            sha256=received.sha256,
            keys={},
            memory=self._memory[shard],
            slots=self._sources[shard].slots,
            replication_id=position.replication_id,
            offset=position.offset,
        )

    async def _report(self) -> None:
        """Until cancelled: show the keys and bytes that have been received."""
        while True:
            for receiver in self._receivers.values():
                await receiver.update()
            self.show()
            await asyncio.sleep(_POLL_SECONDS)

    def show(self) -> None:
        counters = [receiver.counted for receiver in self._receivers.values()]
        keys, size = sum(counter.keys for counter in counters), sum(counter.received for counter in counters)
        total = sum(counter.total for counter in counters)
        detail = f"{{shards:{len(self._sources)},keys:{round(keys)}/{total},bytes:{size}}}"
        share = keys / total if total else 1.0
        self._step.measure(done=min(share, 1.0) * self._step.sub_step.work.total, detail=detail)

    async def _wait_for_children(self, node: Node) -> None:
        """Wait until the node has no child process, which would delay its snapshot while writes wait."""
        while True:
            self._step.raise_if_cancelled()
            state = await info(node, self._access, ("persistence",), ANSWER_SECONDS)
            if not any(int(state.get(name, 0)) for name in _CHILDREN):
                self._step.end_wait()
                return
            cause = f"{_BUSY} {node.id}"
            self._step.begin_wait(f"waiting for {cause}", cause=cause)
            await asyncio.sleep(_POLL_SECONDS)


async def on_disk(act: Callable[[Unpack[Given]], Result], *arguments: *Given) -> Result:
    """Write on a thread. Raises ActionFailed if the disk is full or does not work: that is no error of a node."""
    try:
        return await asyncio.to_thread(act, *arguments)
    except OSError as error:
        raise disk_failure(error) from error


def disk_failure(error: OSError | DiskFailed) -> ActionFailed:
    reason = getattr(error, "strerror", None) or error
    return ActionFailed(
        errors.NOT_ENOUGH_DISK, f"the snapshot cannot be kept on the disk of the server: {reason}", True
    )
