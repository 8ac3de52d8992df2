"""A snapshot of a node without a cluster, written again with its keys divided by slots.

A temporary node of a cluster loads the snapshot and writes one of its own: only Valkey knows all types of keys. It
listens on a Unix socket in its folder and, as every node of a cluster, on a bus port.
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
from cachewright.valkey.config import SNAPSHOT, converter_conf
from cachewright.valkey.single_request import Command, fields, request_at

_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0
_LEAST_FREE = 0.05
"""Share of the host's memory that stays free."""


class SlotOrder:
    """The temporary node of one task. Methods raise ActionFailed."""

    def __init__(self, context: OperationContext, task_id: str) -> None:
        self._context = context
        self._name = task_id
        self._folder = context.host.converters_dir / task_id
        self._processes = context.host.converters

    async def write(
        self, snapshot: Path, target: Path, keys: int, version: str, progress: Callable[[float], None]
    ) -> None:
        """Write the snapshot, which has this number of keys, divided by slots at `target`.

        :param version: of the valkey-server that the node runs.
        :param progress: called with the finished share.
        """
        await self._start(snapshot, version)
        said = await self._until(lambda said: said["loading"] == "0", lambda said: progress(_loaded(said) / 2))
        found = int(said["rdb_last_load_keys_loaded"]) + int(said["rdb_last_load_keys_expired"])
        if found != keys:
            message = f"{found} keys were loaded, the backup has {keys}"
            raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
        if said["rdb_bgsave_in_progress"] == "0" and not _has_saved(said):
            await self._ask(("BGSAVE",))
        await self._until(_has_saved, lambda said: progress((1 + _saved(said)) / 2))
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

    async def _start(self, snapshot: Path, version: str) -> None:
        if await self._processes.process(self._name):
            return
        await self._processes.remove(self._name, _STOP_SECONDS)
        (ports,) = await asyncio.to_thread(
            lambda: self._context.host.find_ports(self._context.host.address, 1, frozenset(), tls=False)
        )
        files = {SERVER_VERSION: version, CONFIG: converter_conf(ports.address, ports.bus)}
        await self._processes.write_files(self._name, files)
        await asyncio.to_thread(os.link, snapshot, self._folder / SNAPSHOT)
        try:
            await self._processes.start(self._name)
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"the temporary node did not start: {failure}") from failure

    async def _until(
        self, condition: Callable[[Mapping[str, str]], bool], report: Callable[[Mapping[str, str]], None]
    ) -> Mapping[str, str]:
        """Return what the node says as soon as the condition is true."""
        while True:
            try:
                said = await self._ask(("INFO", "persistence"))
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
        if found.memory_free < _LEAST_FREE * found.memory:
            await self.end()
            message = f"the host has {found.memory_free} bytes of memory left while the backup is divided by slots"
            raise ActionFailed(errors.NOT_ENOUGH_MEMORY, message, True)

    async def _ask(self, command: Command) -> Mapping[str, str]:
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
