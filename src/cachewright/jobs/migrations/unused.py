"""Gateways on the machine of an agent that no server needs any more, and of which none tells it."""

import time
from collections.abc import Callable
from pathlib import Path

from cachewright.jobs.migrations.machine import GatewayMachine

UNUSED_SECONDS = 3600.0
"""Time without a call after which gateways are removed. A server that does not run for longer has all keys copied
again."""


class UsedGateways:
    """When a server has called about each migration last."""

    def __init__(self, machine: GatewayMachine, clock: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._clock = clock
        self._used: dict[str, tuple[float, Path | None]] = {}

    def use(self, migration_id: str, node_folder: Path) -> None:
        """Note a call.

        :param node_folder: of the node of the instance that it names. It is deleted with its instance.
        """
        self._used[migration_id] = self._clock(), node_folder

    def forget(self, migration_id: str) -> None:
        self._used.pop(migration_id, None)

    async def unused(self) -> list[str]:
        """Return the migrations whose gateways can be removed. Those that an earlier process of the agent has started
        count as used when they are seen first."""
        now = self._clock()
        for migration_id in await self._machine.migrations():
            self._used.setdefault(migration_id, (now, None))
        return [
            migration_id
            for migration_id, (used_at, folder) in self._used.items()
            if now - used_at >= UNUSED_SECONDS or (folder is not None and not folder.exists())
        ]
