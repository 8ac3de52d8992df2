"""Keep the sentinels of primary/standby instances running, and record their failovers.

Every second it starts sentinels that have died, lets the sentinels watch exactly the recorded instances, and records
the primary that a failover has made. When no such instance is left, it removes the sentinels. `SentinelPlaces` decides
on which hosts they run. Instances with TLS between their nodes have sentinels of their own.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import SENTINEL_CONFIG, ProcessInfo
from cachewright.logs import RARELY, about
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node, offers_sentinels
from cachewright.model.sentinels import QUORUM, Sentinel
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.lasting_faults import LastingFaults
from cachewright.monitoring.repeated_starts import RepeatedStarts
from cachewright.monitoring.sentinel_places import SentinelPlaces
from cachewright.operations import STATUSES_WITH_RUNNING_NODES, sentinel_places, sentinels
from cachewright.operations.context import OperationContext
from cachewright.operations.create import CREATE
from cachewright.operations.watched_roles import primary_of, record_primary
from cachewright.store import instances_with_nodes
from cachewright.store import sentinels as store
from cachewright.threads import in_background
from cachewright.topologies import topology_of
from cachewright.valkey import sentinel as commands
from cachewright.valkey.acl import CLIENT_USER, CONTROL_USER, SENTINEL_USER
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.node_control import is_open_to_clients
from cachewright.valkey.plain_replication import is_fenced
from cachewright.valkey.sentinel import Watched, agreement
from cachewright.valkey.single_request import Command

log = logging.getLogger(__name__)

_ROUND_SECONDS = 1.0
_AT_ONCE = 8
_STOP_SECONDS = 5.0

_RUNNING = STATUSES_WITH_RUNNING_NODES
_KEPT = _RUNNING | {CREATE.status_while_running}
"""Statuses in which sentinels may watch an instance. A creation starts the monitoring itself."""

_Recorded = tuple[Instance, list[Node]]
_Views = Mapping[str, Mapping[str, Watched]]
"""Instances that each sentinel watches, by its id."""


class _Record(msgspec.Struct, frozen=True):
    """Sentinels, and primary/standby instances with their nodes by the instance's id."""

    fleet: Sequence[Sentinel]
    instances: Mapping[str, _Recorded]

    def of(self, *, tls: bool) -> "_Record":
        """Return the sentinels that use TLS and the instances that they watch, or the others."""
        return _Record(
            [sentinel for sentinel in self.fleet if sentinel.has_tls == tls],
            {one: found for one, found in self.instances.items() if (found[0].node_ca is not None) == tls},
        )


class FailoverWatch:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar sentinels: number of recorded sentinels, :ivar sentinels_up: of those that answer.
        :ivar failovers: number of changes of a primary that were recorded.
        """
        self._context = context
        self._starts = RepeatedStarts()
        self._faults = LastingFaults(incidents, "no_failover")
        self._heartbeats = heartbeats
        self._places = {tls: SentinelPlaces(context, tls=tls) for tls in (False, True)}
        self._record = _Record((), {})
        self._change_counter: object | None = None
        self._set_up: dict[str, ProcessInfo] = {}
        self._tried: dict[tuple[str, str], ProcessInfo | None] = {}
        self.sentinels = self.sentinels_up = self.failovers = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._heartbeats.beat("failover watch")
            counter = await self._context.database.change_counter()
            if counter is None or counter != self._change_counter:
                self._record = await in_background(self._read)
                self._change_counter = counter
            await self._round(self._record)
            await self._remove_strays(self._record)
            await asyncio.sleep(_ROUND_SECONDS)

    def _read(self) -> _Record:
        with self._context.database.read() as connection:
            found = instances_with_nodes.of_spec_codes(connection, lambda code: topology_of(code).has_sentinel)
            return _Record(store.fleet(connection), found)

    async def _round(self, record: _Record) -> None:
        both = (self._round_of(record.of(tls=tls), tls=tls) for tls in (False, True))
        plain, secured = await asyncio.gather(*both)
        self.sentinels, self.sentinels_up = plain[0] + secured[0], plain[1] + secured[1]
        self._faults.keep({one for one, (instance, _) in record.instances.items() if instance.status in _RUNNING})

    async def _round_of(self, record: _Record, *, tls: bool) -> tuple[int, int]:
        """Perform a round for the sentinels with TLS, or for the others. Return their number, and that of those that
        answer."""
        if not record.instances:
            if record.fleet:
                await in_background(self._release_fleet, tls)
            return 0, 0
        processes = await self._context.host.sentinels.processes() if record.fleet else {}
        started = await asyncio.gather(*(self._is_started(one, processes.get(one.id)) for one in record.fleet))
        up = [sentinel for sentinel, is_started in zip(record.fleet, started, strict=True) if is_started]
        views = await self._views(up)
        await gather_limited(lambda sentinel: self._reconcile(record, sentinel, views), up, _AT_ONCE)
        running = {
            instance_id: recorded
            for instance_id, recorded in record.instances.items()
            if recorded[0].status in _RUNNING
        }
        await gather_limited(lambda recorded: self._follow(*recorded, views), list(running.values()), _AT_ONCE)
        for instance_id, (instance, nodes) in running.items():
            replicas = len(nodes) - 1
            known = [view[instance_id].replicas for view in views.values() if instance_id in view]
            if instance.status == "RUNNING" and any(number > replicas for number in known):  # one missed a removal
                await sentinels.forget_replicas(self._context, record.fleet, instance_id, replicas)
            is_watched = sum(instance_id in view for view in views.values()) >= QUORUM
            self._faults.report(instance_id, None if is_watched else f"{len(views)} sentinels answer")
        nodes_of = {one: found for one, (_, found) in record.instances.items()}
        await self._places[tls].keep(record.fleet, views, nodes_of)
        return len(record.fleet), len(views)

    def _release_fleet(self, tls: bool) -> None:
        """Remove the record of the sentinels with TLS, or of the others, if no instance needs them."""
        with self._context.database.write() as connection:
            if not sentinel_places.watched_nodes(connection, tls=tls):
                store.remove(connection, tls=tls)

    async def _remove_strays(self, record: _Record) -> None:
        """Remove processes of this machine without a record: the last instance was deleted, a deletion was interrupted,
        or the sentinel has moved to another host. Agents do the same on theirs."""
        here = self._context.host.own_sentinels
        of_sentinels = await here.with_file(SENTINEL_CONFIG)
        if of_sentinels <= _own(record.fleet):
            return
        now = await in_background(self._read)  # a record is written before its process starts
        for sentinel_id in of_sentinels - _own(now.fleet):
            await here.remove(sentinel_id, _STOP_SECONDS)

    async def _is_started(self, sentinel: Sentinel, process: ProcessInfo | None) -> bool:
        """Start a sentinel that does not run. Return whether it runs now.

        :param process: as its host has reported it last.
        """
        processes = self._context.host.sentinels
        if process is None:
            try:
                if await processes.is_busy(sentinel.id):
                    return False  # a creation starts it
                log.warning("sentinel %s does not run; starting it", sentinel.id, extra=RARELY)
                failure = await self._starts.attempt(sentinel.id, lambda: sentinels.start(self._context, sentinel))
                process = None if failure else await processes.process(sentinel.id)
            except HostSilent as silent:
                log.warning("sentinel %s is not started: %s", sentinel.id, silent, extra=RARELY)
            if process is None:
                return False
        if self._set_up.get(sentinel.id) != process:
            with suppress(*NODE_GONE, NodeRefused):
                await commands.request(sentinel, self._context.sentinel_access, commands.setup_commands(sentinel))
                self._set_up[sentinel.id] = process
        return True

    async def _views(self, up: Sequence[Sentinel]) -> _Views:
        async def view(sentinel: Sentinel) -> tuple[str, Mapping[str, Watched] | None]:
            with suppress(*NODE_GONE, NodeRefused):
                return sentinel.id, await commands.watched(sentinel, self._context.sentinel_access)
            return sentinel.id, None

        found = await asyncio.gather(*map(view, up))
        return {sentinel_id: view for sentinel_id, view in found if view is not None}

    async def _reconcile(self, record: _Record, sentinel: Sentinel, views: _Views) -> None:
        """Let a sentinel watch exactly the recorded instances, and accept their clients."""
        view = views.get(sentinel.id)
        if view is None:
            return
        words: list[Command] = []
        for instance, nodes in record.instances.values():
            own = view.get(instance.id)
            is_right = own is not None and not own.is_outdated(nodes)
            if own and is_right and self._may_lack_settings(sentinel, own):
                words.append(commands.settings_command(instance.id, instance.control_secret))
            if not is_right and instance.status in _RUNNING and instance.id in _kept(record):
                others = agreement(other.get(instance.id) for one, other in views.items() if one != sentinel.id)
                primary = primary_of(nodes, others)
                if primary and await self._serves(instance, primary):
                    log.warning("sentinel %s watches instance %s again", sentinel.id, instance.id)
                    words += [commands.unwatch_command(instance.id)] if own else []
                    words += commands.watch_commands(instance.id, primary, instance.control_secret)
        if view.keys() - _kept(record):
            now = (await in_background(self._read)).of(tls=sentinel.has_tls)
            for instance_id in view.keys() - _kept(now):  # an instance is recorded before sentinels watch it
                words += commands.forget_commands(instance_id)
        with suppress(*NODE_GONE, NodeRefused):
            passwords = await commands.client_passwords(sentinel, self._context.sentinel_access)
            for instance, _ in record.instances.values():
                changed = passwords.get(instance.id) != commands.client_password(instance.password)
                if changed and instance.status in _RUNNING and instance.id in _offering(record):
                    words.append(commands.client_user_command(instance.id, instance.password))
            internal = {CLIENT_USER, CONTROL_USER, SENTINEL_USER}
            if passwords.keys() - internal - _offering(record):
                now = await in_background(self._read)
                words += [("ACL", "DELUSER", name) for name in sorted(passwords.keys() - internal - _offering(now))]
            if words:
                await commands.request(sentinel, self._context.sentinel_access, words)

    def _may_lack_settings(self, sentinel: Sentinel, own: Watched) -> bool:
        """Whether a sentinel does not reach the primary of an instance, perhaps because it was killed before it had its
        user on the nodes. True once for each process: a dead primary looks the same."""
        if own.is_reached:
            return False
        process, tried = self._set_up.get(sentinel.id), self._tried.get((sentinel.id, own.name))
        self._tried[sentinel.id, own.name] = process
        return process is not None and tried != process

    async def _serves(self, instance: Instance, node: Node) -> bool:
        """Whether a node accepts clients and their writes. Sentinels must not judge it while it starts."""
        access = self._context.access(instance)
        with suppress(*NODE_GONE, NodeRefused):
            return await is_open_to_clients(node, access) and not await is_fenced(node, access)
        return False

    async def _follow(self, instance: Instance, nodes: Sequence[Node], views: _Views) -> None:
        """Record the primary that the sentinels name, if that node confirms its role."""
        agreed = agreement(view.get(instance.id) for view in views.values())
        primary = next((node for node in nodes if node.peer_port == agreed.port), None)
        if not agreed.is_known or agreed.is_moving or primary is None or primary.role == "primary":
            return
        view = (await self._context.views(instance, [primary], needed="none"))[primary.id]
        if view is None or view.members[primary.id].primary is not None:
            return
        await record_primary(self._context, instance.id, primary.id)
        self.failovers += 1
        with about(instance_id=instance.id, node_id=primary.id):
            log.warning("node %s is the primary of instance %s now", primary.id, instance.id)


def _own(fleet: Sequence[Sentinel]) -> set[str]:
    """Ids of the sentinels of the machine of the server."""
    return {sentinel.id for sentinel in fleet if sentinel.host_name == EMBEDDED}


def _kept(record: _Record) -> set[str]:
    """Ids of instances that sentinels may watch."""
    return {
        instance_id
        for instance_id, (instance, nodes) in record.instances.items()
        if instance.status in _KEPT and any(node.should_run for node in nodes)
    }


def _offering(record: _Record) -> set[str]:
    """Ids of those of them whose clients may ask the sentinels."""
    return {one for one in _kept(record) if offers_sentinels(*record.instances[one])}
