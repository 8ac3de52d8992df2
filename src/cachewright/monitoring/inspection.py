"""What the nodes of instances say of themselves, asked for requests, on the event loop.

Requests cannot starve each other here: each project has a limit on its requests that ask nodes, and on its questions
under way; requests that need the same node share one question; a node that was silent is not asked again for a while.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from cachewright import errors
from cachewright.concurrency import FairLimit, SharedCalls
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node, Role
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.parameters import BY_NAME, read_settings
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Unreadable, databases, info, request_once

_ANSWER_SECONDS = 2.0
_SILENT_SECONDS = 5.0
"""For so long a node that did not answer in time is taken to be still silent."""

_CONFIGURATION_SECONDS = 6.0
_REQUESTS_AT_ONCE = 16
_REQUESTS_WAITING = 50
_QUESTIONS_AT_ONCE = 32
_LOOKS_AT_ONCE = 16
_PREVIEWS_AT_ONCE = 2
_PREVIEWS_WAITING = 10


class NodeInfo(msgspec.Struct, frozen=True):
    """A node and its INFO, None where it does not answer."""

    node: Node
    said: Mapping[str, str] | None

    @property
    def role(self) -> Role:
        """What it says it is; what it was made as, where it says nothing."""
        return ROLES[self.said["role"]] if self.said else self.node.role

    def number(self, field: str) -> float:
        """A counter of its INFO, 0 where the node does not answer or has nothing to count."""
        return float(self.said.get(field, 0)) if self.said else 0.0

    def calls(self, command: str) -> int:
        """How often a command was called since the node started."""
        return _counters(self.said, f"cmdstat_{command}").get("calls", 0)

    @property
    def keys(self) -> Mapping[str, int]:
        """`keys`, `expires` and `avg_ttl` of its first database, the only one of a node of a cluster."""
        return _counters(self.said, "db0")

    @property
    def key_count(self) -> int:
        """Keys of all its databases."""
        return sum(_counters(self.said, name).get("keys", 0) for name in databases(self.said or {}))


_NUMBERS = (
    "used_memory", "instantaneous_ops_per_sec", "instantaneous_input_kbps", "instantaneous_output_kbps",
    "used_cpu_sys", "used_cpu_user", "uptime_in_seconds",
)  # fmt: skip


def read_node_info(node: Node, said: Mapping[str, str]) -> NodeInfo:
    """A node and what it said. Without what it said where that cannot be read: such a node counts as one that does not
    answer."""
    seen = NodeInfo(node, said)
    try:
        readable = said["role"] in ROLES and all(math.isfinite(float(said[field])) for field in _NUMBERS)
        int(said.get("slave_priority", 0))
        _ = seen.keys, seen.calls("get"), seen.calls("set")
    except (KeyError, ValueError):
        readable = False
    return seen if readable else NodeInfo(node, None)


class NodeBudget:
    """How much the requests of each project may ask nodes."""

    def __init__(self) -> None:
        self._requests = FairLimit(_REQUESTS_AT_ONCE, waiting=_REQUESTS_WAITING)
        self._questions = FairLimit(_QUESTIONS_AT_ONCE)
        self._looks = FairLimit(_LOOKS_AT_ONCE)
        self._previews = FairLimit(_PREVIEWS_AT_ONCE, waiting=_PREVIEWS_WAITING)

    def request(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Around all that a request asks. ApiError DCS.4974 where too many of the project's requests wait."""
        return self._requests.turn(project_id)

    def question(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Around a question to one node."""
        return self._questions.turn(project_id)

    def look(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Around questions to all nodes of one instance."""
        return self._looks.turn(project_id)

    def preview(self, project_id: str) -> AbstractAsyncContextManager[None]:
        """Around the preview of a task. ApiError DCS.4974 where too many of the project's wait."""
        return self._previews.turn(project_id)


class NodeInspector:
    """Asks nodes for requests."""

    def __init__(self, access: Callable[[Instance], Access], budget: NodeBudget) -> None:
        self._access = access
        self._budget = budget
        self._questions: SharedCalls[str, NodeInfo] = SharedCalls()
        self._silent: dict[str, float] = {}

    async def look(
        self, project_id: str, instances: Iterable[tuple[Instance, Sequence[Node]]]
    ) -> dict[str, list[NodeInfo]]:
        """The nodes of each instance, by instance id, in the order given. ApiError DCS.4974 where too many of the
        project's requests wait."""
        wanted = list(instances)
        asked = [(node, self._access(instance)) for instance, nodes in wanted for node in nodes]
        async with self._budget.request(project_id):
            sights = await asyncio.gather(*(self._sight(project_id, node, access) for node, access in asked))
        seen: dict[str, list[NodeInfo]] = {instance.id: [] for instance, _ in wanted}
        for found in sights:
            seen[found.node.instance_id].append(found)
        return seen

    async def configuration(self, instance: Instance, nodes: Sequence[Node]) -> list[Mapping[str, str]]:
        """The values of all parameters on each node that answers. ApiError DCS.4049 where no node answers, DCS.4974
        where too many of the project's requests wait."""
        async with self._budget.request(instance.project_id):
            found = await asyncio.gather(*(self._configuration_of(instance, node) for node in nodes))
        answered = [values for values in found if values is not None]
        if not answered:
            raise ApiError(errors.INSTANCE_NOT_RUNNING)
        return answered

    async def _sight(self, project_id: str, node: Node, access: Access) -> NodeInfo:
        if self._is_silent(node):
            return NodeInfo(node, None)

        async def ask() -> NodeInfo:
            async with self._budget.question(project_id):
                try:
                    return read_node_info(node, await info(node, access, ("all",), _ANSWER_SECONDS))
                except (*NODE_GONE, NodeRefused) as failure:
                    self._remember(node, failure)
                    return NodeInfo(node, None)

        return msgspec.structs.replace(await self._questions.get(node.id, ask), node=node)

    async def _configuration_of(self, instance: Instance, node: Node) -> Mapping[str, str] | None:
        if self._is_silent(node):
            return None
        try:
            async with self._budget.question(instance.project_id):
                command = ("CONFIG", "GET", *BY_NAME)
                (reply,) = await request_once(node, self._access(instance), [command], _ANSWER_SECONDS)
            return read_settings(_values(reply, BY_NAME))
        except (*NODE_GONE, NodeRefused) as failure:
            self._remember(node, failure)
            return None

    def _is_silent(self, node: Node) -> bool:
        return time.monotonic() < self._silent.get(node.id, 0.0)

    def _remember(self, node: Node, failure: Exception) -> None:
        """A node that is known not to listen costs nothing to ask again; one that is silent does."""
        now = time.monotonic()
        if isinstance(failure, TimeoutError | Unreadable):
            self._silent = {known: until for known, until in self._silent.items() if until > now}
            self._silent[node.id] = now + _SILENT_SECONDS


def _values(reply: object, names: Collection[str]) -> Mapping[str, str]:
    """The reply to CONFIG GET of these names. Unreadable where it is none."""
    if not isinstance(reply, list) or not all(isinstance(part, str) for part in reply) or len(reply) % 2:
        raise Unreadable("the reply is no list of names and values")
    values: dict[str, str] = dict(zip(reply[::2], reply[1::2], strict=True))
    if not values.keys() >= set(names):
        raise Unreadable("the reply leaves parameters out")
    return values


def _counters(said: Mapping[str, str] | None, field: str) -> Mapping[str, int]:
    """A field of INFO such as `keys=3,expires=0`; what is no whole number is left out."""
    parts = (part.partition("=") for part in (said or {}).get(field, "").split(",") if part)
    return {name: int(value) for name, _, value in parts if value.isdecimal()}
