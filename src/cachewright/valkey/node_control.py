"""Control of single nodes: memory limit, parameters, clients, shutdown.

A function raises one of NODE_GONE where the node does not answer and NodeRefused where it refuses, unless its docstring
says otherwise.

Source: CONFIG, CLIENT LIST, INFO and SHUTDOWN of Valkey 9.1.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.parameters import deviations, node_settings, read_settings

_PARAMETER_SECONDS = 2.0
_POLL_SECONDS = 0.1
"""Between two looks at the clients of a node, which lists all of them each time."""


async def set_memory_limit(node: Node, access: Access, maxmemory: int) -> int:
    """Set `maxmemory`, in bytes, until the node's next start, unless the node uses more. Returns the bytes it uses."""
    async with connect(node, access) as client:
        used = int((await client.info("memory"))["used_memory"])
        if used <= maxmemory:
            await client.config_set("maxmemory", maxmemory)
        return used


async def set_parameters(node: Node, access: Access, values: Mapping[str, str]) -> None:
    """Set parameters of `valkey.parameters`, all or none of them, until the node's next start."""
    async with connect(node, access, _PARAMETER_SECONDS) as client:
        await _config_set(client, values)


async def ensure_parameters(node: Node, access: Access, values: Mapping[str, str]) -> None:
    """Set those parameters that have other values on the node."""
    async with connect(node, access, _PARAMETER_SECONDS) as client:
        current = read_settings(await ask(client, "CONFIG GET", *values))
        if different := deviations(current, values):
            await _config_set(client, different)


async def wait_until_idle(node: Node, access: Access, *, idle_seconds: float, at_most_seconds: float) -> None:
    """Wait until the node has no clients or they have sent no command for `idle_seconds`, `at_most_seconds` in all.
    Returns immediately if the node does not answer."""
    deadline = time.monotonic() + at_most_seconds
    with suppress(*NODE_GONE):
        async with connect(node, access) as client:
            last = now = await client_activity(client)
            while now.connected and now.at < min(last.at + idle_seconds, deadline):
                await asyncio.sleep(_POLL_SECONDS)
                now = await client_activity(client)
                if now.calls != last.calls:
                    last = now


async def shut_down(node: Node, access: Access) -> None:
    """Ask the node to end without saving its data, which takes effect faster than a signal. Raises nothing if the node
    has ended or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await ask(client, "SHUTDOWN", "NOSAVE", "NOW")


async def is_in_step(replica: Node, access: Access) -> bool:
    """Whether a replica is connected to its primary and has caught up with it."""
    async with connect(replica, access) as client:
        return await is_link_up(client)


async def is_link_up(client: Valkey) -> bool:
    """`is_in_step` on an open connection."""
    return bool((await client.info("replication")).get("master_link_status") == "up")


async def _config_set(client: Valkey, values: Mapping[str, str]) -> None:
    await ask(client, "CONFIG SET", *(word for setting in node_settings(values).items() for word in setting))
