"""Removal of gateways. All functions ensure their result and may be repeated."""

import asyncio

from cachewright.hosts.host import CONFIG
from cachewright.operations.context import OperationContext
from cachewright.store import online_migrations as store

_STOP_SECONDS = 0.0
"""A gateway has nothing to write at its end. One that unpacks a large value takes more memory until it is killed."""


async def remove_gateways(context: OperationContext, migration_id: str) -> None:
    """Remove the gateways of a migration with their data."""
    for name in await context.host.gateways.with_file(CONFIG):
        if name.partition(".")[0] == migration_id:
            await remove_gateway(context, name)


async def remove_gateway(context: OperationContext, name: str) -> None:
    """Remove a gateway with its data."""
    context.streams.close(name)
    await context.relays.close(name)
    context.streams.fresh.discard(name)
    await context.host.gateways.remove(name, _STOP_SECONDS)


async def remove_unused_gateways(context: OperationContext) -> None:
    """Remove gateways of migrations that do not run: a deletion of their instance leaves them."""
    found = {name.partition(".")[0] for name in await context.host.gateways.with_file(CONFIG)}
    if not found:
        return

    def running() -> set[str]:
        with context.database.read() as connection:
            return store.running(connection)

    for migration_id in found - await asyncio.to_thread(running):
        await remove_gateways(context, migration_id)
