"""What the nodes of instances say of themselves, asked when it is asked for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from cachewright.errors import Refusal
from cachewright.store.records import Instance, Node, Role
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.parameters import BY_NAME, read_settings

_ANSWER_SECONDS = 2.0
_AT_ONCE = 64
"""Nodes that are asked side by side."""


class Sight(msgspec.Struct, frozen=True):
    """A node and its INFO, None where it does not answer."""

    node: Node
    said: Mapping[str, Any] | None

    @property
    def role(self) -> Role:
        """What it says it is; what it was made as, where it says nothing."""
        return cast(Role, self.said["role"]) if self.said else self.node.role

    def number(self, field: str) -> float:
        """A counter of its INFO, 0 where the node does not answer or has nothing to count."""
        return float(self.said.get(field, 0)) if self.said else 0.0

    def calls(self, command: str) -> int:
        """How often a command was called since the node started."""
        counted: Mapping[str, Any] = (self.said or {}).get(f"cmdstat_{command}", {})
        return int(counted.get("calls", 0))

    @property
    def keys(self) -> Mapping[str, int]:
        """`keys`, `expires` and `avg_ttl` of its one database."""
        found: Mapping[str, int] = (self.said or {}).get("db0", {})
        return found


def look(
    instances: Iterable[tuple[Instance, Sequence[Node]]], access: Callable[[Instance], Access]
) -> dict[str, list[Sight]]:
    """The nodes of each instance, by instance id, in the order given. Call it in a thread of its own."""
    return asyncio.run(_look(list(instances), access))


async def _look(
    instances: Sequence[tuple[Instance, Sequence[Node]]], access: Callable[[Instance], Access]
) -> dict[str, list[Sight]]:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(node: Node, with_access: Access) -> Sight:
        async with room:
            try:
                async with connect(node, with_access, answer_seconds=_ANSWER_SECONDS) as client:
                    return Sight(node, await client.info("all"))
            except (*NODE_GONE, NodeRefused):
                return Sight(node, None)

    asked = [(node, access(instance)) for instance, nodes in instances for node in nodes]
    sights = await asyncio.gather(*(one(node, with_access) for node, with_access in asked))
    seen: dict[str, list[Sight]] = {instance.id: [] for instance, _ in instances}
    for sight in sights:
        seen[sight.node.instance_id].append(sight)
    return seen


def configuration(access: Access, nodes: Sequence[Node]) -> list[Mapping[str, str]]:
    """The values of all parameters on each node that answers. Refusal DCS.4049 where no node answers. Call it in a
    thread of its own."""
    return asyncio.run(_configuration(access, nodes))


async def _configuration(access: Access, nodes: Sequence[Node]) -> list[Mapping[str, str]]:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(node: Node) -> Mapping[str, str] | None:
        async with room:
            try:
                async with connect(node, access, answer_seconds=_ANSWER_SECONDS) as client:
                    return read_settings(await ask(client, "CONFIG GET", *BY_NAME))
            except (*NODE_GONE, NodeRefused):
                return None

    found = [values for values in await asyncio.gather(*map(one, nodes)) if values is not None]
    if not found:
        raise Refusal("DCS.4049")
    return found
