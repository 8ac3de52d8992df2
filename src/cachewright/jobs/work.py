"""A job while it runs: what it can use, and what it tells."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cachewright.backups.storage import Storage
from cachewright.config import Settings
from cachewright.hosts.jobs import JobState
from cachewright.hosts.node_folders import delete_folder
from cachewright.hosts.server_binary import reading_server
from cachewright.jobs.migrations.orders import Orders
from cachewright.threads import on_storage
from cachewright.valkey.rdb_check import DamagedSnapshot

_FOLDER_MODE = 0o700


class Work:
    """Lives on one event loop.

    :ivar node_folder: folder of the node.
    :ivar state: how far the job is.
    """

    def __init__(self, settings: Settings, node_id: str) -> None:
        self.settings = settings
        self.node_folder = settings.nodes_dir / node_id
        self.state = JobState()
        self._changed = asyncio.Event()

    def tell(self, told: msgspec.Struct, stage: str | None = None) -> None:
        """Add what is told to the state, and begin a stage."""
        known: Mapping[str, Any] = self.state.told
        merged = {**known, **msgspec.to_builtins(told, str_keys=True)}
        self.change(told=merged, stage=self.state.stage if stage is None else stage)

    def change(self, **values: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **values)
        self._changed.set()

    async def storage(self, url: str) -> Storage:
        """Return the storage of backups. Raises StorageFailed, also if it is not the one in which the server has left
        its mark: a folder must be a mount that the hosts share."""
        storage = await on_storage(Storage.open, url)
        await storage.require_mark(is_new=False)
        return storage

    async def until(self, known_stage: str, seconds: float) -> JobState:
        """Return the state as soon as it is another stage than the known one, and after this time at the latest."""
        try:
            async with asyncio.timeout(seconds):
                while not self.state.has_ended and self.state.stage == known_stage:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self.state


class OrderedWork(Work):
    """Work to which the server says something while it runs: a part of a migration.

    :ivar orders: what the server has said last, :ivar on_orders: called with what it says.
    """

    def __init__(self, settings: Settings, node_id: str) -> None:
        super().__init__(settings, node_id)
        self.orders = Orders()
        self.on_orders: Callable[[Orders], None] = lambda orders: None
        self._ordered_at = float("-inf")
        self._ordered = asyncio.Event()

    def take(self, orders: Orders) -> None:
        """Take what the server says."""
        self.orders, self._ordered_at = orders, time.monotonic()
        self.on_orders(orders)
        self._ordered.set()

    @property
    def seconds_without_orders(self) -> float:
        return time.monotonic() - self._ordered_at

    async def next_orders(self) -> None:
        """Wait until the server says something."""
        self._ordered.clear()
        await self._ordered.wait()


class FolderWork(Work):
    """Work on files.

    :ivar folder: of the job, below that of the node.
    """

    def __init__(self, settings: Settings, node_id: str, folder: str) -> None:
        """:param folder: name of the folder."""
        super().__init__(settings, node_id)
        self.folder = self.node_folder / folder
        self.offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def new_folder(self) -> None:
        """Create the folder of the job, in place of one of an earlier attempt. Blocks."""
        self.node_folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)  # a node may not have been started yet
        delete_folder(self.folder)
        self.folder.mkdir(mode=_FOLDER_MODE)

    def delete_folder(self) -> None:
        delete_folder(self.folder)

    def server_that_reads(self, version: str) -> tuple[str, Path]:
        """Return version and path of the valkey-server of this machine that reads snapshots of this version. Raises
        DamagedSnapshot without one. Blocks."""
        found = reading_server(self.settings.valkey_binaries, version)
        if found is None:
            raise DamagedSnapshot(f"this host has no valkey-server {version} or later to read it")
        return found
