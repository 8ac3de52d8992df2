"""A temporary node on this machine, which loads data and writes a snapshot of it.

Only Valkey knows all types of keys. The node listens on a Unix socket in its folder and, as every node of a cluster, on
a bus port of the loopback address.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from cachewright import errors
from cachewright.hosts.host import CONFIG, SERVER_VERSION, Host, NodeStartFailed, Processes
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.resources import Resources
from cachewright.jobs.failure import JobFailed
from cachewright.valkey.access import socket_address
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused
from cachewright.valkey.config import SNAPSHOT
from cachewright.valkey.single_request import Command, fields, request_at

Said = Mapping[str, str]

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0


class TemporaryNodes(msgspec.Struct, frozen=True):
    """The temporary nodes of this machine.

    :ivar folder: with the folder of each.
    :ivar resources: measures the machine, :ivar ports: finds ports for a node. They block.
    """

    processes: Processes
    folder: Path
    resources: Callable[[], Resources]
    ports: Callable[[], NodePorts]

    @classmethod
    def of(cls, host: Host) -> "TemporaryNodes":
        """Return those of the machine of this process."""

        def ports() -> NodePorts:
            return host.find_ports(_LOOPBACK, 1, frozenset(), tls=False)[0]

        return cls(host.converters, host.converters_dir, host.own_resources, ports)

    async def names(self, prefix: str = "") -> list[str]:
        """Return the names of the nodes that have a folder. Beside the folders are hidden files that lock them."""

        def search() -> list[str]:
            return [path.name for path in self.folder.glob(f"{prefix}*") if not path.name.startswith(".")]

        return await asyncio.to_thread(search)

    async def remove_all(self, prefix: str = "") -> None:
        """End the nodes whose names begin so, and delete their files. Raises JobFailed if one does not end."""
        for name in await self.names(prefix):
            await TemporaryNode(self, name).end()


class TemporaryNode:
    """A temporary node, found again by its name. Methods raise JobFailed."""

    def __init__(self, nodes: TemporaryNodes, name: str) -> None:
        self._nodes = nodes
        self._name = name
        self._folder = nodes.folder / name
        self._processes = nodes.processes

    async def start(self, version: str, conf: Callable[[str, int], str], place: Callable[[Path], None]) -> None:
        """Ensure that the node runs.

        :param version: of the valkey-server that it runs.
        :param conf: text of its valkey.conf, by its address and bus port.
        :param place: puts its data into its folder. Called on a thread.
        """
        if await self._processes.process(self._name):
            return
        await self._processes.remove(self._name, _STOP_SECONDS)
        ports = await asyncio.to_thread(self._nodes.ports)
        files = {SERVER_VERSION: version, CONFIG: conf(ports.address, ports.bus)}
        await self._processes.write_files(self._name, files)
        await asyncio.to_thread(place, self._folder)
        try:
            await self._processes.start(self._name)
        except NodeStartFailed as failure:
            raise JobFailed(errors.NODE_START_FAILED, f"the temporary node did not start: {failure}") from failure

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
            raise JobFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"the temporary node does not end: {error}") from error

    @asynccontextmanager
    async def ended_on_failure(self) -> AsyncIterator[None]:
        """End the node if the block does not succeed."""
        try:
            yield
        except BaseException:
            with suppress(JobFailed):
                await asyncio.shield(self.end())
            raise

    async def _until(self, condition: Callable[[Said], bool], report: Callable[[Said], None]) -> Said:
        """Return what the node says as soon as the condition is true."""
        while True:
            try:
                said = await self._ask(("INFO", "persistence", "memory"))
            except (*NODE_GONE, NodeRefused):
                if await self._processes.process(self._name) is None:
                    raise JobFailed(errors.NODE_START_FAILED, "the temporary node has died") from None
            else:
                if said.get("rdb_last_bgsave_status") == "err":
                    message = "the temporary node cannot write the snapshot: is the disk of its host full?"
                    await self.end()
                    raise JobFailed(errors.NOT_ENOUGH_DISK, message)
                await self._require_memory()
                if condition(said):
                    return said
                report(said)
            await asyncio.sleep(_POLL_SECONDS)

    async def _require_memory(self) -> None:
        """End the node and raise JobFailed DCS.4036 if the host is almost out of memory: how much memory a snapshot
        takes is not known before it is loaded."""
        found = await asyncio.to_thread(self._nodes.resources)
        if found.has_little_memory:
            await self.end()
            message = f"the host has {found.memory_free} bytes of memory left for the temporary node"
            raise JobFailed(errors.NOT_ENOUGH_MEMORY, message, True)

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
