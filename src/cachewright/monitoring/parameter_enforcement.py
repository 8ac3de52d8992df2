"""Enforce recorded parameters, users, priorities and the limit of client connections on all nodes, over connections
that stay open.

A node may miss a change of parameters or users, for example while it is frozen. Clients may open more connections than
`maxclients`: Valkey rejects them only when the connections reserved for replication, migration and the control plane
are used up as well (see `valkey.parameters`). The newest connections above the limit are closed.

If clients took all connections of a node while no server ran, the node accepts no other connection. It is restarted,
which loses no data.
"""

import asyncio
import logging
import re
import resource
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from functools import partial

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import NodeStartFailed
from cachewright.logs import RARELY, about
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Task
from cachewright.monitoring.priority_enforcement import PriorityEnforcement, PriorityState
from cachewright.monitoring.user_enforcement import UserEnforcement, UserState, recorded_users
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.context import OperationContext
from cachewright.operations.resize.operation import RESIZE
from cachewright.store import instances, tasks
from cachewright.threads import in_background
from cachewright.valkey.acl import INTERNAL_USERS
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.client_drain import killed
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachewright.valkey.migration.node_settings import SETTINGS_OUTSIDE_MOVES
from cachewright.valkey.parameters import (
    BY_NAME,
    RESERVED_CONNECTIONS,
    deviations,
    node_settings,
    read_settings,
    settable,
    values,
)
from cachewright.valkey.session import FULL, Session
from cachewright.valkey.users import User

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_SHORTEST_SECONDS = 0.3
"""Between two rounds while a node has too many clients, or after a node may have started."""

_CHECK_SECONDS = 60.0
"""Between two comparisons of unchanged parameters of a node."""

_ANSWER_SECONDS = 2.0
_LOCKED_OUT_SECONDS = 10.0
_LEAVE_SECONDS = 120.0
_AT_ONCE = 64
_TOLERATED = 100
"""Clients above the limit that are tolerated: listing clients costs the node time."""

_SHARE_OF_FILES = 4
"""One in this many of the files that this process may open may be such a connection."""

_OUTSIDE_MOVES: Mapping[str, str] = {**SETTINGS_OUTSIDE_MOVES, "cluster-node-timeout": str(CLUSTER_NODE_TIMEOUT_MS)}
"""Settings that moves change, with their values outside of moves."""

_MALFORMED = (KeyError, ValueError, TypeError, AttributeError)
"""Errors of parsing a malformed reply: another program listens at the node's address."""

_CLIENT = re.compile(r"^id=(\d+) .*? user=(\S*)", re.MULTILINE)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A node with what the record says of it.

    :ivar parameters: None while a task changes them.
    :ivar users: None while a task changes them.
    """

    node: Node
    parameters: Mapping[str, str] | None
    users: tuple[User, ...] | None


class NodeState(msgspec.Struct):
    """State of one node of an instance between rounds.

    :ivar compared: parameters at the last comparison; None before the first.
    :ivar compared_at: time of the last comparison, monotonic seconds, as `locked_out_since`.
    :ivar complaint: last message logged about it.
    """

    instance_id: str
    session: Session | None = None
    compared: Mapping[str, str] | None = None
    compared_at: float = 0.0
    users: UserState = msgspec.field(default_factory=UserState)
    priority: PriorityState = msgspec.field(default_factory=PriorityState)
    locked_out_since: float | None = None
    complaint: str = ""


class ParameterEnforcement:
    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._users = UserEnforcement(context)
        self._priorities = PriorityEnforcement(context)
        self._states: dict[str, NodeState] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._due: set[str] = set()

    async def run(self) -> None:
        """Enforce until cancelled: on all instances every few seconds, and on those that need it soon in between."""
        self._loop = asyncio.get_running_loop()
        next_of_all = float("-inf")
        try:
            while True:
                self._heartbeats.beat("enforcement")
                self._wake.clear()
                due, self._due = self._due, set()
                if time.monotonic() >= next_of_all:
                    self._due |= await self.enforce()
                    next_of_all = time.monotonic() + _ROUND_SECONDS
                else:
                    self._due |= await self.enforce(due)
                self._close_connections_beyond(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE_OF_FILES)
                await asyncio.sleep(_SHORTEST_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if self._due else next_of_all - time.monotonic()):
                        await self._wake.wait()
        finally:
            self._loop = None
            for state in self._states.values():
                _close(state)

    def see(self, task: Task) -> None:
        """Check the instance of a task soon after its end: it may have changed nodes or values. Thread-safe."""
        loop = self._loop
        if task.status in ENDED and loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._check_soon, task.instance_id)

    def _check_soon(self, instance_id: str) -> None:
        self._due.add(instance_id)
        self._wake.set()

    def session(self, node_id: str) -> Session | None:
        """Return the open connection to a node, or None."""
        state = self._states.get(node_id)
        return state.session if state else None

    async def enforce(self, only: Set[str] | None = None) -> set[str]:
        """Check every node once, or those of these instances. Return the instances with a node that had too many
        clients."""
        targets = await in_background(self._targets, only)
        targeted = {target.node.id for target in targets}
        for node_id in [one for one, state in self._states.items() if only is None or state.instance_id in only]:
            if node_id not in targeted:
                _close(self._states.pop(node_id))

        async def check(target: Target) -> bool:
            node = target.node
            with about(instance_id=node.instance_id, node_id=node.id):
                return await self._check_node(target, self._states.setdefault(node.id, NodeState(node.instance_id)))

        busy = await gather_limited(check, targets, _AT_ONCE)
        return {target.node.instance_id for target, is_busy in zip(targets, busy, strict=True) if is_busy}

    def _close_connections_beyond(self, most: int) -> None:
        """Close connections above this number; they are opened again in each round."""
        opened = [state for state in self._states.values() if state.session is not None]
        for state in opened[most:]:
            _close(state)

    def _targets(self, only: Set[str] | None) -> list[Target]:
        """Nodes that should run and have the control plane's user, of all instances or of these."""
        with self._context.database.read() as connection:
            found = instances.in_statuses(connection, STATUSES_WITH_RUNNING_NODES, only)
            recorded = {instance.id: instance for instance in found}
            configured = tasks.worked_on(connection, CONFIGURE.kind)
            users = recorded_users(connection, recorded.values())
            nodes = instances.nodes_that_should_run(connection, only)
        parameters = {
            instance_id: None if instance_id in configured else values(instance.parameters)
            for instance_id, instance in recorded.items()
        }
        return [
            Target(node=node, parameters=parameters[node.instance_id], users=users[node.instance_id])
            for node in nodes
            if node.instance_id in recorded and node.access != "password"
        ]

    async def _check_node(self, target: Target, state: NodeState) -> bool:
        node, parameters = target.node, target.parameters
        try:
            if state.session is None:
                state.session = await self._open_session(node)
                state.compared, state.users, state.priority = None, UserState(), PriorityState()
            state.locked_out_since = None
            surplus = await self._close_surplus(node, parameters or state.compared, state.session)
            if parameters is not None and _due(state, parameters):
                await self._compare(node, parameters, state, state.session)
            if target.users is not None:
                await self._users.compare(node, target.users, state.users, state.session)
            await self._priorities.compare(node, state.priority, state.session)
        except (*NODE_GONE, NodeRefused, HostSilent, *_MALFORMED) as failure:
            _close(state)
            if FULL in str(failure):
                await self._locked_out(node, state)
            return FULL in str(failure)
        return surplus

    async def _open_session(self, node: Node) -> Session:
        instance = await in_background(self._instance, node)
        if instance is None:
            raise OSError(f"instance {node.instance_id} was deleted")
        lost = partial(self._check_soon, node.instance_id)
        return await Session.open(node, self._context.access(instance), _ANSWER_SECONDS, lost=lost)

    def _instance(self, node: Node) -> Instance | None:
        with self._context.database.read() as connection:
            return instances.find(connection, node.instance_id)

    async def _close_surplus(self, node: Node, parameters: Mapping[str, str] | None, session: Session) -> bool:
        """Close connections above the limit of the node. True if there were any."""
        info = dict(line.split(":", 1) for line in (await session.ask("INFO", "clients")).split() if ":" in line)
        if parameters is None:
            return False
        most = min(int(parameters["maxclients"]), max(int(info["maxclients"]) - RESERVED_CONNECTIONS, 1))
        if int(info["connected_clients"]) <= most + _TOLERATED:
            return False
        listed = _CLIENT.findall(await session.ask("CLIENT", "LIST"))
        surplus = sorted(int(number) for number, user in listed if user not in INTERNAL_USERS)[most:]
        for words in killed(list(map(str, surplus))):
            await session.ask("CLIENT", "KILL", *words)
        if surplus:
            message = "node %s: closed %d connections above maxclients %d"
            log.warning(message, node.id, len(surplus), most, extra=RARELY)
        return bool(surplus)

    async def _compare(self, node: Node, parameters: Mapping[str, str], state: NodeState, session: Session) -> None:
        answer = await session.ask("CONFIG", "GET", *BY_NAME, *_OUTSIDE_MOVES, "cluster-enabled")
        found = dict(zip(answer[::2], answer[1::2], strict=True))
        if found["cluster-enabled"] == "yes":
            await self._reset_move_settings(node, found, session)
        other = deviations(read_settings(found), parameters)
        if other:
            instance = await in_background(self._unchanged, node, parameters)
            if instance is None:
                return  # a task changes parameters or has just changed them: the next round compares again
            await self._context.host.write_files(node.id, await self._context.files(instance, node))
            if await self._set(node, settable(other), state, session):
                log.warning("node %s had other parameters than recorded; corrected: %s", node.id, settable(other))
        state.compared, state.compared_at = parameters, time.monotonic()

    async def _reset_move_settings(self, node: Node, found: Mapping[str, str], session: Session) -> None:
        """Reset the settings of a move that a killed server has left behind."""
        left = {name: value for name, value in _OUTSIDE_MOVES.items() if found.get(name) != value}
        if left and not await in_background(self._is_resized, node):
            for name, value in left.items():
                await session.ask("CONFIG", "SET", name, value)
            log.warning("node %s had settings of a slot migration that has ended; reset: %s", node.id, sorted(left))

    def _is_resized(self, node: Node) -> bool:
        with self._context.database.read() as connection:
            return node.instance_id in tasks.worked_on(connection, RESIZE.kind)

    def _unchanged(self, node: Node, parameters: Mapping[str, str]) -> Instance | None:
        """The node's instance, if it still has these parameters and no task changes them."""
        with self._context.database.read() as connection:
            instance = instances.find(connection, node.instance_id)
            changing = tasks.worked_on(connection, CONFIGURE.kind)
        if instance is None or instance.id in changing or values(instance.parameters) != parameters:
            return None
        return instance

    async def _set(self, node: Node, deviating: Mapping[str, str], state: NodeState, session: Session) -> bool:
        """Set values one by one, so that one rejected value does not block the others. True if at least one was set."""
        refused = {}
        for name, value in node_settings(deviating).items():
            try:
                await session.ask("CONFIG", "SET", name, value)
            except NodeRefused as refusal:
                refused[name] = str(refusal)
        if refused and state.complaint != str(refused):
            log.warning("node %s rejects recorded parameters: %s", node.id, refused)
        state.complaint = str(refused)
        return len(refused) < len(deviating)

    async def _locked_out(self, node: Node, state: NodeState) -> None:
        """Restart a node that has accepted no connection for ten seconds. It shuts down cleanly and keeps acknowledged
        writes."""
        now = time.monotonic()
        if state.locked_out_since is None:
            state.locked_out_since = now
            log.warning(
                "node %s accepts no connection of the control plane: its clients have taken all connections", node.id
            )
        if now - state.locked_out_since < _LOCKED_OUT_SECONDS:
            return
        log.warning("node %s is restarted: its clients have taken all connections", node.id)
        state.locked_out_since = None
        try:
            await self._context.prepare_start(node.instance_id, node.id)
            await self._context.host.restart(node.id, time.time(), _LEAVE_SECONDS)
            state.session = await self._open_session(node)
        except (NodeStartFailed, *NODE_GONE, NodeRefused) as failure:
            log.warning("node %s: %s", node.id, failure)


def _due(state: NodeState, parameters: Mapping[str, str]) -> bool:
    return state.compared != parameters or time.monotonic() - state.compared_at > _CHECK_SECONDS


def _close(state: NodeState) -> None:
    if state.session is not None:
        state.session.close()
    state.session = state.compared = None
