"""Keeps the nodes at the parameters on record and their clients within the limit, through connections that stay open.

A node may have missed a change of parameters: it was frozen, or came back with an older file. Clients may open more
connections than `maxclients`: Valkey refuses them only when those that are reserved for replication, migration and
the control plane are used up as well (see `valkey.parameters`). The newest connections above the limit are closed.

A node whose clients took all connections while no server ran accepts no other connection. It is restarted, which loses
no data.
"""

import asyncio
import logging
import re
import resource
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import NodeStartFailed
from cachewright.logs import RARELY, about
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Task
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.context import OperationContext
from cachewright.store import instances, tasks
from cachewright.threads import in_background
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.parameters import (
    BY_NAME,
    RESERVED_CONNECTIONS,
    deviations,
    node_settings,
    read_settings,
    values,
)
from cachewright.valkey.session import FULL, Session

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_SHORTEST_SECONDS = 0.3
"""Between two rounds while a node has too many clients, or when one may be new or started again."""

_CHECK_SECONDS = 60.0
"""Between two comparisons of a node's parameters when nothing seems to have changed."""

_ANSWER_SECONDS = 2.0
_LOCKED_OUT_SECONDS = 10.0
_LEAVE_SECONDS = 120.0
_AT_ONCE = 64
_TOLERATED = 100
"""Clients above the limit of a node before some are closed: looking for them costs the node time."""

_CLOSED_AT_ONCE = 1000
_SHARE_OF_FILES = 4
"""Of the files that this process may open, one in so many may be a connection that stays open."""

_NONSENSE = (KeyError, ValueError, TypeError, AttributeError)
"""Errors of reading an answer that is not a node's: another program listens at its address."""

_CLIENT = re.compile(r"^id=(\d+) .*? user=(\S*)", re.MULTILINE)


class Kept(msgspec.Struct):
    """What is known of one node.

    :ivar compared: the parameters that it was last found to have; None where it has to be looked at.
    :ivar compared_at: when, in seconds of the monotonic clock; the same of `locked_out_since`.
    :ivar complaint: what was last logged of it.
    """

    session: Session | None = None
    compared: Mapping[str, str] | None = None
    compared_at: float = 0.0
    locked_out_since: float | None = None
    complaint: str = ""


class ParameterEnforcement:
    def __init__(self, site: OperationContext, heartbeats: LoopHeartbeats) -> None:
        self._site = site
        self._heartbeats = heartbeats
        self._kept: dict[str, Kept] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._heartbeats.beat("enforcement")
                self._wake.clear()
                busy = await self.enforce()
                self._close_beyond(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE_OF_FILES)
                await asyncio.sleep(_SHORTEST_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0 if busy else _ROUND_SECONDS):
                        await self._wake.wait()
        finally:
            self._loop = None
            for kept in self._kept.values():
                _closed(kept)

    def see(self, task: Task) -> None:
        """Called with every change of a task, in any thread: at its end an instance may have other nodes or values."""
        loop = self._loop
        if task.status in ENDED and loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._wake.set)

    async def enforce(self) -> bool:
        """Looks at every node once. Whether one has too many clients."""
        wanted = await in_background(self._wanted)
        for gone in self._kept.keys() - {node.id for node, _ in wanted}:
            _closed(self._kept.pop(gone))

        async def one(asked: tuple[Node, Mapping[str, str] | None]) -> bool:
            node, parameters = asked
            with about(instance_id=node.instance_id, node_id=node.id):
                return await self._tend(node, parameters, self._kept.setdefault(node.id, Kept()))

        return any(await gather_limited(one, wanted, _AT_ONCE))

    def _close_beyond(self, most: int) -> None:
        """Nodes beyond this number are connected to anew in each round."""
        opened = [kept for kept in self._kept.values() if kept.session is not None]
        for kept in opened[most:]:
            _closed(kept)

    def _wanted(self) -> list[tuple[Node, Mapping[str, str] | None]]:
        """Nodes that should be running, each with its instance's values; None while a task changes them."""
        with self._site.database.read() as connection:
            recorded = instances.parameters_in(connection, STATUSES_WITH_RUNNING_NODES)
            changing = tasks.worked_on(connection, CONFIGURE.kind)
            nodes = instances.nodes_that_should_run(connection)
        known = [node for node in nodes if node.instance_id in recorded and node.access != "password"]
        return [(node, None if node.instance_id in changing else values(recorded[node.instance_id])) for node in known]

    async def _tend(self, node: Node, parameters: Mapping[str, str] | None, kept: Kept) -> bool:
        try:
            if kept.session is None:
                kept.session = await self._opened(node)
                kept.compared = None
            kept.locked_out_since = None
            surplus = await self._close_surplus(node, parameters or kept.compared, kept.session)
            if parameters is not None and _due(kept, parameters):
                await self._compare(node, parameters, kept, kept.session)
        except (*NODE_GONE, NodeRefused, *_NONSENSE) as failure:
            _closed(kept)
            if FULL in str(failure):
                await self._locked_out(node, kept)
            return FULL in str(failure)
        return surplus

    async def _opened(self, node: Node) -> Session:
        instance = await in_background(self._instance, node)
        if instance is None:
            raise OSError(f"instance {node.instance_id} is gone")
        return await Session.open(node, self._site.access(instance), _ANSWER_SECONDS, lost=self._wake.set)

    def _instance(self, node: Node) -> Instance | None:
        with self._site.database.read() as connection:
            return instances.find(connection, node.instance_id)

    async def _close_surplus(self, node: Node, parameters: Mapping[str, str] | None, session: Session) -> bool:
        """Whether there were more clients than the limit of the node."""
        said = dict(line.split(":", 1) for line in (await session.ask("INFO", "clients")).split() if ":" in line)
        if parameters is None:
            return False
        most = min(int(parameters["maxclients"]), max(int(said["maxclients"]) - RESERVED_CONNECTIONS, 1))
        if int(said["connected_clients"]) <= most + _TOLERATED:
            return False
        listed = _CLIENT.findall(await session.ask("CLIENT", "LIST"))
        surplus = sorted(int(number) for number, user in listed if user != CONTROL_USER)[most:]
        for start in range(0, len(surplus), _CLOSED_AT_ONCE):
            await session.ask("CLIENT", "KILL", "ID", *map(str, surplus[start : start + _CLOSED_AT_ONCE]))
        if surplus:
            message = "node %s: %d connections above maxclients %d are closed"
            log.warning(message, node.id, len(surplus), most, extra=RARELY)
        return bool(surplus)

    async def _compare(self, node: Node, parameters: Mapping[str, str], kept: Kept, session: Session) -> None:
        found = await session.ask("CONFIG", "GET", *BY_NAME)
        other = deviations(read_settings(dict(zip(found[::2], found[1::2], strict=True))), parameters)
        if other:
            instance = await in_background(self._unchanged, node, parameters)
            if instance is None:
                return  # a change is under way or has just ended: the next round knows more
            await self._site.host.write_files(node.id, await self._site.files(instance, node))
            if await self._set(node, other, kept, session):
                log.warning("node %s had other parameters than the record; they are set again: %s", node.id, other)
        kept.compared, kept.compared_at = parameters, time.monotonic()

    def _unchanged(self, node: Node, parameters: Mapping[str, str]) -> Instance | None:
        """The node's instance, if these are still its parameters and no task changes them."""
        with self._site.database.read() as connection:
            instance = instances.find(connection, node.instance_id)
            changing = tasks.worked_on(connection, CONFIGURE.kind)
        if instance is None or instance.id in changing or values(instance.parameters) != parameters:
            return None
        return instance

    async def _set(self, node: Node, wanted: Mapping[str, str], kept: Kept, session: Session) -> bool:
        """One after another: a value that this host does not allow must not hold up the others."""
        refused = {}
        for name, value in node_settings(wanted).items():
            try:
                await session.ask("CONFIG", "SET", name, value)
            except NodeRefused as refusal:
                refused[name] = str(refusal)
        if refused and kept.complaint != str(refused):
            log.warning("node %s does not take parameters on record: %s", node.id, refused)
        kept.complaint = str(refused)
        return len(refused) < len(wanted)

    async def _locked_out(self, node: Node, kept: Kept) -> None:
        """Restarts a node that has accepted no connection for a while. It shuts down in order and keeps acknowledged
        writes."""
        now = time.monotonic()
        if kept.locked_out_since is None:
            kept.locked_out_since = now
            log.warning("node %s does not accept the control plane: its clients have taken all connections", node.id)
        if now - kept.locked_out_since < _LOCKED_OUT_SECONDS:
            return
        log.warning("node %s is restarted: its clients have taken all connections", node.id)
        kept.locked_out_since = None
        try:
            await self._site.host.restart(node.id, time.time(), _LEAVE_SECONDS)
            kept.session = await self._opened(node)
        except (NodeStartFailed, *NODE_GONE, NodeRefused) as failure:
            log.warning("node %s: %s", node.id, failure)


def _due(kept: Kept, parameters: Mapping[str, str]) -> bool:
    return kept.compared != parameters or time.monotonic() - kept.compared_at > _CHECK_SECONDS


def _closed(kept: Kept) -> None:
    if kept.session is not None:
        kept.session.close()
    kept.session = kept.compared = None
