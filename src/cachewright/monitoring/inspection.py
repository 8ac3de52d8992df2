"""Queries nodes on behalf of API requests, on the event loop.

Projects cannot starve each other: each has a limit on its requests that query nodes, and on its concurrent queries.
Requests for the same node share one query. A node that timed out is not queried again for a few seconds.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import msgspec

from cachewright import errors
from cachewright.concurrency import FairLimit, SharedCalls
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node, Role
from cachewright.monitoring.shard_roles import ReportedRole, shard_roles
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.parameters import BY_NAME, read_settings
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Unreadable, databases, info, request_once

Found = TypeVar("Found")

ANSWER_SECONDS = 2.0
_SILENT_SECONDS = 5.0
"""Time for which a node that timed out is not queried again."""

_CONCURRENT_REQUESTS = 16
_REQUESTS_WAITING = 50
_CONCURRENT_QUERIES = 32
_CONCURRENT_INSTANCES = 16
_CONCURRENT_PREVIEWS = 2
_PREVIEWS_WAITING = 10


class NodeInfo(msgspec.Struct, frozen=True):
    """A node with the fields of its INFO; None if it does not respond.

    :ivar shard_role: its role as derived from the reports of all nodes of its shard; None if they are not known.
    :ivar zone: zone of its host.
    """

    node: Node
    fields: Mapping[str, str] | None
    shard_role: Role | None = None
    zone: str = ""

    @property
    def role(self) -> Role:
        return self.shard_role or self.reported_role or self.node.role

    @property
    def reported_role(self) -> Role | None:
        """The role that the node reports; None if it does not respond."""
        return ROLES[self.fields["role"]] if self.fields else None

    @property
    def is_serving(self) -> bool:
        """Whether the node accepts clients."""
        return self.fields is not None and self.fields.get("tcp_port", str(self.node.port)) == str(self.node.port)

    def number(self, field: str) -> float:
        """A counter of INFO; 0 if the node does not respond or lacks the field."""
        return float(self.fields.get(field, 0)) if self.fields else 0.0

    def calls(self, command: str) -> int:
        """Number of calls of a command since the node started."""
        return _counters(self.fields, f"cmdstat_{command}").get("calls", 0)

    @property
    def keys(self) -> Mapping[str, int]:
        """`keys`, `expires` and `avg_ttl` of its first database, the only one of a node of a cluster."""
        return _counters(self.fields, "db0")

    @property
    def key_count(self) -> int:
        """Keys of all its databases."""
        return sum(_counters(self.fields, name).get("keys", 0) for name in databases(self.fields or {}))


_NUMBERS = (
    "used_memory", "instantaneous_ops_per_sec", "instantaneous_input_kbps", "instantaneous_output_kbps",
    "used_cpu_sys", "used_cpu_user", "uptime_in_seconds",
)  # fmt: skip


def read_node_info(node: Node, fields: Mapping[str, str]) -> NodeInfo:
    """Parse INFO of a node. Malformed INFO counts as no response."""
    seen = NodeInfo(node, fields)
    try:
        readable = fields["role"] in ROLES and all(math.isfinite(float(fields[field])) for field in _NUMBERS)
        _ = seen.keys, seen.calls("get"), seen.calls("set")
    except (KeyError, ValueError):
        readable = False
    return seen if readable else NodeInfo(node, None)


def with_shard_roles(infos: Sequence[NodeInfo]) -> list[NodeInfo]:
    """Return the nodes of an instance with their roles."""
    roles = shard_roles([ReportedRole(found.node, found.reported_role, found.is_serving) for found in infos])
    return [msgspec.structs.replace(found, shard_role=roles[found.node.id]) for found in infos]


class NodeBudget:
    """Limits on queries of nodes for the requests of each project."""

    def __init__(self) -> None:
        self._requests = FairLimit(_CONCURRENT_REQUESTS, waiting=_REQUESTS_WAITING)
        self._queries = FairLimit(_CONCURRENT_QUERIES)
        self._instances = FairLimit(_CONCURRENT_INSTANCES)
        self._previews = FairLimit(_CONCURRENT_PREVIEWS, waiting=_PREVIEWS_WAITING)

    def request(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Limit of requests that query nodes. ApiError DCS.4974 if too many requests of the project wait."""
        return self._requests.turn(project_id)

    def query(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Limit of queries of single nodes."""
        return self._queries.turn(project_id)

    def instance(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Limit of queries of all nodes of an instance."""
        return self._instances.turn(project_id)

    def preview(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Limit of previews of tasks. ApiError DCS.4974 if too many of the project wait."""
        return self._previews.turn(project_id)


class NodeInspector:
    """Queries nodes for requests."""

    def __init__(self, access: Callable[[Instance], Access], budget: NodeBudget) -> None:
        self._access = access
        self._budget = budget
        self._queries: SharedCalls[str, NodeInfo] = SharedCalls()
        self._silent: dict[str, float] = {}

    async def look(
        self, project_id: str, instances: Iterable[tuple[Instance, Sequence[Node]]]
    ) -> dict[str, list[NodeInfo]]:
        """Query the nodes of instances; results by instance id, in the given order. ApiError DCS.4974 if too many
        requests of the project wait."""
        targets = list(instances)
        nodes_with_access = [(node, self._access(instance)) for instance, nodes in targets for node in nodes]
        async with self._budget.request(project_id):
            infos = await asyncio.gather(*(self._query(project_id, *target) for target in nodes_with_access))
        by_instance: dict[str, list[NodeInfo]] = {instance.id: [] for instance, _ in targets}
        for node_info in infos:
            by_instance[node_info.node.instance_id].append(node_info)
        return {instance_id: with_shard_roles(found) for instance_id, found in by_instance.items()}

    async def configuration(self, instance: Instance, nodes: Sequence[Node]) -> dict[str, Mapping[str, str]]:
        """Read all parameters of each node that responds, by node id. ApiError DCS.4049 if no node responds, DCS.4974
        if too many requests of the project wait."""

        async def read(node: Node, access: Access) -> Mapping[str, str]:
            (reply,) = await request_once(node, access, [("CONFIG", "GET", *BY_NAME)], ANSWER_SECONDS)
            return read_settings(_values(reply, BY_NAME))

        return await self.each(instance, nodes, read)

    async def each(
        self, instance: Instance, nodes: Sequence[Node], query: Callable[[Node, Access], Awaitable[Found]]
    ) -> dict[str, Found]:
        """Return what `query` finds at each node that responds, by node id. ApiError DCS.4049 if no node responds,
        DCS.4974 if too many requests of the project wait."""
        async with self._budget.request(instance.project_id):
            found = await asyncio.gather(*(self._ask(instance, node, query) for node in nodes))
        by_node = {node.id: value for node, values in zip(nodes, found, strict=True) for value in values}
        if not by_node:
            raise ApiError(errors.INSTANCE_NOT_RUNNING)
        return by_node

    async def _ask(
        self, instance: Instance, node: Node, query: Callable[[Node, Access], Awaitable[Found]]
    ) -> tuple[Found, ...]:
        """Return what the query finds; nothing if the node does not respond."""
        if self._is_silent(node):
            return ()
        try:
            async with self._budget.query(instance.project_id):
                return (await query(node, self._access(instance)),)
        except (*NODE_GONE, NodeRefused) as failure:
            self._remember(node, failure)
            return ()

    async def _query(self, project_id: str, node: Node, access: Access) -> NodeInfo:
        if self._is_silent(node):
            return NodeInfo(node, None)

        async def send() -> NodeInfo:
            async with self._budget.query(project_id):
                try:
                    return read_node_info(node, await info(node, access, ("all",), ANSWER_SECONDS))
                except (*NODE_GONE, NodeRefused) as failure:
                    self._remember(node, failure)
                    return NodeInfo(node, None)

        return msgspec.structs.replace(await self._queries.get(node.id, send), node=node)

    def _is_silent(self, node: Node) -> bool:
        return time.monotonic() < self._silent.get(node.id, 0.0)

    def _remember(self, node: Node, failure: Exception) -> None:
        """Remember a node that timed out. A refused connection costs nothing and is tried again."""
        now = time.monotonic()
        if isinstance(failure, TimeoutError | Unreadable):
            self._silent = {node_id: until for node_id, until in self._silent.items() if until > now}
            self._silent[node.id] = now + _SILENT_SECONDS


def _values(reply: object, names: Collection[str]) -> Mapping[str, str]:
    """Parse the reply to CONFIG GET of these names. Unreadable if it is malformed."""
    if not isinstance(reply, list) or not all(isinstance(part, str) for part in reply) or len(reply) % 2:
        raise Unreadable("the reply is not a list of names and values")
    values: dict[str, str] = dict(zip(reply[::2], reply[1::2], strict=True))
    if not values.keys() >= set(names):
        raise Unreadable("the reply lacks parameters")
    return values


def _counters(fields: Mapping[str, str] | None, field: str) -> Mapping[str, int]:
    """Parse a field of INFO such as `keys=3,expires=0`, without values that are not whole numbers."""
    parts = (part.partition("=") for part in (fields or {}).get(field, "").split(",") if part)
    return {name: int(value) for name, _, value in parts if value.isdecimal()}
