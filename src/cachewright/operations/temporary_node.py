"""A temporary node on the host of the server, which loads data and writes a snapshot of it.

Only Valkey knows all types of keys. The node listens on a Unix socket in its folder and, as every node of a cluster, on
a bus port.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cachewright import errors
from cachewright.hosts.host import CONFIG, SERVER_VERSION, NodeStartFailed
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.access import socket_address
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused
from cachewright.valkey.config import SNAPSHOT
from cachewright.valkey.single_request import Command, fields, request_at

Said = Mapping[str, str]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0


class TemporaryNode:
    """A node of a task, found again by its name. Methods raise ActionFailed."""

    def __init__(self, context: OperationContext, name: str) -> None:
        self._context = context
        self._name = name
        self._folder = context.host.converters_dir / name
        self._processes = context.host.converters

    async def start(self, version: str, conf: Callable[[str, int], str], place: Callable[[Path], None]) -> None:
        """Ensure that the node runs.

        :param version: of the valkey-server that it runs.
        :param conf: text of its valkey.conf, by its address and bus port.
        :param place: puts its data into its folder. Called on a thread.
        """
        if await self._processes.process(self._name):
            return
        await self._processes.remove(self._name, _STOP_SECONDS)
        host = self._context.host
        (ports,) = await asyncio.to_thread(lambda: host.find_ports(host.address, 1, frozenset(), tls=False))
        files = {SERVER_VERSION: version, CONFIG: conf(ports.address, ports.bus)}
        await self._processes.write_files(self._name, files)
        await asyncio.to_thread(place, self._folder)
        try:
            await self._processes.start(self._name)
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"the temporary node did not start: {failure}") from failure

    async def loaded(self, progress: Callable[[float], None]) -> Said:
        """Return what the node says when it has loaded its data. `progress` is called with the finished share."""
        return await self._until(lambda said: said["loading"] == "0", lambda said: progress(_loaded(said)))

    async def save(self, said: Said, target: Path, progress: Callable[[float], None]) -> None:
        """Write a snapshot at `target`, unless the node has written it, and end the node.

        :param said: what the node has said last. :param progress: called with the finished share.
        """
        if said["rdb_bgsave_in_progress"] == "0" and not _has_saved(said):
            await self._ask(("BGSAVE",))
        await self._until(_has_saved, lambda said: progress(_saved(said)))
        await asyncio.to_thread(os.replace, self._folder / SNAPSHOT, target)
        await self.end()

    async def end(self) -> None:
        """End the node and delete its files."""
        try:
            await self._processes.remove(self._name, _STOP_SECONDS)
        except TimeoutError as error:
            raise ActionFailed(
                errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"the temporary node does not end: {error}"
            ) from error

    async def _until(self, condition: Callable[[Said], bool], report: Callable[[Said], None]) -> Said:
        """Return what the node says as soon as the condition is true."""
        while True:
            try:
                said = await self._ask(("INFO", "persistence", "memory"))
            except (*NODE_GONE, NodeRefused):
                if await self._processes.process(self._name) is None:
                    raise ActionFailed(errors.NODE_START_FAILED, "the temporary node has died") from None
            else:
                if said.get("rdb_last_bgsave_status") == "err":
                    message = "the temporary node cannot write the snapshot: is the disk of the server full?"
                    await self.end()
                    raise ActionFailed(errors.NOT_ENOUGH_DISK, message)
                await self._require_memory()
                if condition(said):
                    return said
                report(said)
            await asyncio.sleep(_POLL_SECONDS)

    async def _require_memory(self) -> None:
        """End the node and raise ActionFailed DCS.4036 if the host is almost out of memory: how much memory a snapshot
        takes is not known before it is loaded."""
        found = await asyncio.to_thread(self._context.host.resources)
        if found.has_little_memory:
            await self.end()
            message = f"the host has {found.memory_free} bytes of memory left for the temporary node"
            raise ActionFailed(errors.NOT_ENOUGH_MEMORY, message, True)

    async def _ask(self, command: Command) -> Said:
        with socket_address(self._folder, "") as place:
            (reply,) = await request_at(place, "converter", [command], ANSWER_SECONDS)
        return fields(reply)


def _has_saved(said: Mapping[str, str]) -> bool:
    return said["rdb_last_bgsave_time_sec"] != "-1"


def _loaded(said: Mapping[str, str]) -> float:
    return _share(said, "loading_loaded_bytes", "loading_total_bytes")


def _saved(said: Mapping[str, str]) -> float:
    return _share(said, "current_save_keys_processed", "current_save_keys_total")


def _share(said: Mapping[str, str], done: str, total: str) -> float:
    return min(int(said.get(done, 0)) / max(int(said.get(total, 0)), 1), 1.0)
