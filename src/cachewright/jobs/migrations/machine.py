"""The machine on which gateways run, and their removal. All functions ensure their result and may be repeated."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from cachewright.hosts.host import CONFIG, Processes
from cachewright.hosts.resources import Resources
from cachewright.valkey.acl import derived_password
from cachewright.valkey.sources.gateway import Gateway
from cachewright.valkey.sources.relays import Relays
from cachewright.valkey.sources.stream import Streams

_STOP_SECONDS = 0.0
"""A gateway has nothing to write at its end. One that unpacks a large value takes more memory until it is killed."""


class GatewayMachine(msgspec.Struct, frozen=True):
    """:ivar processes: the gateways. :ivar folder: with the folder of each.
    :ivar resources: measures the machine. It blocks.
    :ivar streams: open streams of this process, :ivar relays: its relays to sources with TLS.
    """

    processes: Processes
    folder: Path
    resources: Callable[[], Resources]
    streams: Streams = msgspec.field(default_factory=Streams)
    relays: Relays = msgspec.field(default_factory=Relays)

    def gateway(self, migration_id: str, number: int, control_secret: str) -> Gateway:
        """Return a gateway of a migration.

        :param control_secret: of the instance that gets the data.
        """
        name = gateway_name(migration_id, number)
        return Gateway(name, derived_password(control_secret, f"gateway {name}"), self.folder / name)

    async def migrations(self) -> set[str]:
        """Return the ids of the migrations that have gateways here."""
        return {name.partition(".")[0] for name in await self.processes.with_file(CONFIG)}

    async def remove_gateways(self, migration_id: str) -> None:
        """Remove the gateways of a migration with their data, and close its streams."""
        for name in {*await self.processes.with_file(CONFIG), *self.streams.names()}:
            if name.partition(".")[0] == migration_id:
                await self.remove_gateway(name)

    async def remove_gateway(self, name: str) -> None:
        """Remove a gateway with its data."""
        self.streams.close(name)
        await self.relays.close(name)
        self.streams.fresh.discard(name)
        await self.processes.remove(name, _STOP_SECONDS)


def gateway_name(migration_id: str, number: int) -> str:
    return f"{migration_id}.{number}"
