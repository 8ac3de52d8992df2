"""Receives the snapshot of one node into a file on this machine."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple, Unpack

from cachewright.disk_reserve import require_reserve
from cachewright.errors import CachewrightError
from cachewright.jobs.results import Counted, Opened, Received
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused
from cachewright.valkey.rdb_stream import Position, RdbStream
from cachewright.valkey.single_request import info
from cachewright.valkey.snapshot_keys import KeyCounter, counter_for
from cachewright.valkey.snapshot_moment import begin_after

Given = TypeVarTuple("Given")
Result = TypeVar("Result")


class DiskFailed(CachewrightError):
    """A file cannot be written or read: the disk is full, or does not work."""


class SnapshotReceiver:
    """Receives one snapshot. Methods raise one of NODE_GONE or NodeRefused for the node, DiskFailed for the disk."""

    def __init__(self, node: Node, access: Access, create: Callable[[], BinaryIO], folder: Path) -> None:
        """:param create: creates the file, in this folder."""
        self._node = node
        self._access = access
        self._create = create
        self._folder = folder
        self._stream: RdbStream | None = None
        self._counter: KeyCounter | None = None

    async def open(self, *, by_slot: bool) -> Opened:
        """Connect, and count the keys of the node.

        :param by_slot: the node is one of a cluster.
        """
        self._stream = await RdbStream.open(self._node, self._access)
        state = await info(self._node, self._access, ("keyspace", "memory"), ANSWER_SECONDS)
        self._counter = counter_for(state, by_slot=by_slot)
        return Opened(self._stream.server_version, int(state.get("used_memory_dataset", 0)))

    async def begin_after(self, offset: int) -> Position:
        """Begin the snapshot when the node has applied the writes up to `offset`."""
        assert self._stream is not None  # noqa: S101  # it is open
        return await begin_after(self._stream, offset, self._access)

    async def receive(self, raise_if_cancelled: Callable[[], None] = lambda: None) -> Received:
        """Store the snapshot, durably."""
        assert self._stream is not None and self._counter is not None  # noqa: S101, PT018  # it is open
        digest, size, counter = hashlib.sha256(), 0, self._counter

        def take(part: bytes) -> None:
            require_reserve(self._folder, len(part))
            digest.update(part)
            counter.see(part)
            _write(descriptor, part)

        with await on_disk(self._create) as file:
            descriptor = file.fileno()
            async for part in self._stream.parts():
                raise_if_cancelled()
                await on_disk(take, part)
                size += len(part)
            await on_disk(os.fsync, descriptor)
        counter.complete()
        return Received(size, digest.hexdigest())

    @property
    def counted(self) -> Counted:
        if self._counter is None:
            return Counted()
        return Counted(self._counter.keys, self._counter.total, self._counter.received)

    async def update(self) -> None:
        """Ask the node how far it is, where that is not known otherwise."""
        if self._counter is not None and self._counter.needs_state:
            with suppress(*NODE_GONE, NodeRefused):
                self._counter.update(await info(self._node, self._access, ("persistence",), ANSWER_SECONDS))

    async def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


async def on_disk(act: Callable[[Unpack[Given]], Result], *arguments: *Given) -> Result:
    """Write or read on a thread. Raises DiskFailed: an error of the disk is no error of a node."""
    try:
        return await asyncio.to_thread(act, *arguments)
    except OSError as error:
        raise DiskFailed(error.strerror or str(error)) from error


def _write(descriptor: int, part: bytes) -> None:
    rest = memoryview(part)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
