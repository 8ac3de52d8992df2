"""Remove gateways of migrations that do not run any more, or run on another host."""

import asyncio

from cachewright.heartbeats import LoopHeartbeats
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.removal import remove_unused_gateways

_ROUND_SECONDS = 2.0


class GatewayWatch:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._heartbeats = heartbeats

    async def run(self) -> None:
        """Remove gateways until cancelled. A task removes its own at its end, unless its instance is deleted."""
        while True:
            self._heartbeats.beat("gateways")
            await remove_unused_gateways(self._context)
            await asyncio.sleep(_ROUND_SECONDS)
