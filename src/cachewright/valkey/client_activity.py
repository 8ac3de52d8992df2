"""Client activity of a node."""

import time

import msgspec

from cachewright.valkey.client import CONTROL_PLANE, Valkey, ask

_OWN = ("cluster", "info", "ping", "config", "eval_ro", "client", "hello", "auth", "replconf", "psync", "dbsize")
_OWN_COMMANDS = tuple(f"cmdstat_{name}" for name in _OWN)


class ClientActivity(msgspec.Struct, frozen=True, kw_only=True):
    """Client activity at the time `at`, in seconds of the monotonic clock.

    :ivar connected: connections of clients, excluding the control plane, replicas and migrations.
    :ivar calls: commands since the node's start, excluding those of the control plane.
    """

    at: float
    connected: int
    calls: int


async def client_activity(client: Valkey) -> ClientActivity:
    listed = await ask(client, "CLIENT LIST", "TYPE", "normal")
    commands = await client.info("commandstats")
    return ClientActivity(
        at=time.monotonic(),
        connected=sum(other["name"] != CONTROL_PLANE for other in listed),
        calls=sum(command["calls"] for name, command in commands.items() if not name.startswith(_OWN_COMMANDS)),
    )
