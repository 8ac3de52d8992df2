"""The sentinels that primary/standby instances share: start them, let them watch instances, ask and use them.

Instances with TLS between their nodes have other sentinels than those without: a sentinel uses TLS for all of its
connections, or for none.

Every function ensures its result and may be repeated, also concurrently.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import SENTINEL_CONFIG, NodeStartFailed
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Instance, Node, offers_sentinels
from cachewright.model.sentinels import FLEET, QUORUM, Sentinel
from cachewright.operations import client_certificates, sentinel_places
from cachewright.operations.context import OperationContext
from cachewright.placement.port_reservation import reserve
from cachewright.store import sentinels as store
from cachewright.valkey import sentinel as commands
from cachewright.valkey.certificates import (
    CA_FILE,
    CLIENT_FILE,
    NODE_FILE,
    authority_certificate,
    client_certificate,
    is_usable,
    sentinel_certificate,
    trusted,
)
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sentinel import Agreement, Watched, agreement

log = logging.getLogger(__name__)

_SECRET_BYTES = 32


async def recorded(context: OperationContext) -> list[Sentinel]:
    """Return the recorded sentinels; none before the first primary/standby instance."""

    def read() -> list[Sentinel]:
        with context.database.read() as connection:
            return store.fleet(connection)

    return await asyncio.to_thread(read)


async def fleet_of(context: OperationContext, instance: Instance) -> list[Sentinel]:
    """Return the recorded sentinels that watch an instance, or will."""
    has_tls = instance.node_ca is not None
    return [sentinel for sentinel in await recorded(context) if sentinel.has_tls == has_tls]


async def started(context: OperationContext, instance: Instance) -> list[Sentinel]:
    """Return the sentinels of an instance, which are recorded and running then. Raises NodeStartFailed."""
    fleet = await fleet_of(context, instance)
    fleet = fleet or await asyncio.to_thread(_add_fleet, context, tls=instance.node_ca is not None)
    results = await asyncio.gather(*(start(context, sentinel) for sentinel in fleet), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    expected = all(isinstance(failure, (NodeStartFailed, HostSilent)) for failure in failures)
    if len(fleet) - len(failures) < QUORUM or not expected:
        raise failures[0]
    return fleet  # the failover watch starts one that does not start now


def _add_fleet(context: OperationContext, *, tls: bool) -> list[Sentinel]:
    """Record the sentinels with TLS, or those without, on different hosts as far as possible. Blocks."""
    by_host = sentinel_places.addresses_of_new(context, FLEET, tls=tls)
    names = [name for name, addresses in by_host.items() for _ in addresses]
    listening = [address for addresses in by_host.values() for address in addresses]

    def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> list[Sentinel]:
        if found := [sentinel for sentinel in store.fleet(connection) if sentinel.has_tls == tls]:
            return found
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        authority = client_certificates.of_sentinels(connection) if tls else None
        added = [
            Sentinel(
                id=secrets.token_hex(20),
                host=own.address,
                port=own.bus,  # the firewall covers the ports between nodes
                secret=secret,
                created_at=now_ms(),
                host_name=name,
                authority=authority,
            )
            for name, own in zip(names, ports, strict=True)
        ]
        store.add(connection, added)
        return added

    return reserve(context.database, context.host, context.settings, listening, add, tls=False)


async def start(context: OperationContext, sentinel: Sentinel) -> None:
    """Ensure that a sentinel runs. A missing or damaged file is written again; `watch` adds the instances then. Raises
    NodeStartFailed."""
    processes = context.host.sentinels
    if await processes.process(sentinel.id):
        return
    sentinel = await _with_free_port(context, sentinel)
    if files := await _certificates(context, sentinel):
        await processes.write_files(sentinel.id, files)
    if not commands.is_intact(await processes.read_file(sentinel.id, SENTINEL_CONFIG), sentinel):
        await processes.write_files(sentinel.id, {SENTINEL_CONFIG: commands.sentinel_conf(sentinel)})
    try:
        await processes.start(sentinel.id)
    except NodeStartFailed as failure:
        log.warning("sentinel %s does not start with its file, which is written again: %s", sentinel.id, failure)
        await processes.write_files(sentinel.id, {SENTINEL_CONFIG: commands.sentinel_conf(sentinel)})
        await processes.start(sentinel.id)
    with suppress(*NODE_GONE, NodeRefused):
        await commands.request(sentinel, context.sentinel_access, commands.setup_commands(sentinel))


async def _certificates(context: OperationContext, sentinel: Sentinel) -> dict[str, str]:
    """The files for TLS of a sentinel that it needs and does not have."""
    authority = sentinel.authority
    if authority is None:
        return {}
    present = {
        name: await context.host.sentinels.read_file(sentinel.id, name) for name in (CA_FILE, NODE_FILE, CLIENT_FILE)
    }

    def missing() -> dict[str, str]:
        issuer, found = trusted(authority), {CA_FILE: authority_certificate(authority) + trusted(authority)}
        if not is_usable(present[CLIENT_FILE] or "", authority):
            found[CLIENT_FILE] = client_certificate(authority, sentinel.id)
        if not is_usable(present[NODE_FILE] or "", issuer):
            with context.database.write() as connection:
                own = client_certificates.clients_authority(connection)
            found[NODE_FILE] = sentinel_certificate(own, sentinel.id)
        return {name: text for name, text in found.items() if text != present[name]}

    return await asyncio.to_thread(missing)


async def agree(context: OperationContext, instance: Instance) -> Agreement:
    """Return the combined state of an instance as its sentinels report it."""
    fleet = await fleet_of(context, instance)
    answers = await asyncio.gather(*(_watched(context, sentinel) for sentinel in fleet))
    return agreement(answer.get(instance.id) for answer in answers if answer is not None)


async def watch(
    context: OperationContext, sentinel: Sentinel, instance: Instance, primary: Node, nodes: Sequence[Node]
) -> None:
    """Let a sentinel watch an instance with these nodes. Raises one of NODE_GONE or NodeRefused."""
    found = (await commands.watched(sentinel, context.sentinel_access)).get(instance.id)
    if found and not found.is_outdated(nodes):
        return
    words = [commands.unwatch_command(instance.id)] if found else []
    words += commands.watch_commands(instance.id, primary, instance.control_secret)
    if offers_sentinels(instance, [primary]):
        words.append(commands.client_user_command(instance.id, instance.password))
    try:
        await commands.request(sentinel, context.sentinel_access, words)
    except NodeRefused:
        if instance.id not in await commands.watched(sentinel, context.sentinel_access):
            raise  # otherwise the failover watch was faster


async def is_watched(
    context: OperationContext, fleet: Sequence[Sentinel], instance_id: str, replicas: int, *, by_quorum: bool = False
) -> bool:
    """Whether every sentinel watches an instance, and knows the other sentinels and exactly its replicas. With
    `by_quorum`: whether so many know each other and its replicas that they can perform a failover."""
    answers = await asyncio.gather(*(_watched(context, sentinel) for sentinel in fleet))
    views = [answer.get(instance_id) for answer in answers if answer is not None]
    if by_quorum:
        return sum(view is not None and is_complete(view, QUORUM, replicas) for view in views) >= QUORUM
    return len(views) == len(fleet) and all(
        view and is_complete(view, len(fleet), replicas) and view.replicas == replicas for view in views
    )


async def forget_replicas(
    context: OperationContext, fleet: Sequence[Sentinel], instance_id: str, replicas: int
) -> None:
    """Make the sentinels forget nodes that have left an instance, which has so many replicas now. A sentinel knows no
    replica for a moment then, so one begins when all others can perform a failover. No effect while a sentinel does not
    answer or does not reach the primary."""
    for sentinel in fleet:
        answers = dict(zip(fleet, await asyncio.gather(*(_watched(context, one) for one in fleet)), strict=True))
        views = {one: answer.get(instance_id) if answer else None for one, answer in answers.items()}
        own = views[sentinel]
        others_know = all(
            view and view.is_reached and not view.is_moving and is_complete(view, len(fleet), replicas)
            for view in views.values()
        )
        if own and others_know and own.replicas > replicas:
            with suppress(*NODE_GONE, NodeRefused):
                await commands.request(sentinel, context.sentinel_access, [commands.reset_command(instance_id)])


def is_complete(view: Watched, fleet: int, replicas: int) -> bool:
    """Whether a sentinel knows at least as many sentinels and replicas as there are. Pure."""
    return view.sentinels >= fleet - 1 and view.replicas >= replicas


async def forget(context: OperationContext, instance_id: str) -> None:
    """Make every sentinel that answers stop watching an instance."""
    for sentinel in await recorded(context):
        with suppress(*NODE_GONE):
            try:
                await commands.request(sentinel, context.sentinel_access, commands.forget_commands(instance_id))
            except NodeRefused as refusal:
                if not commands.is_unknown(str(refusal)):
                    raise


async def request_failover(context: OperationContext, instance_id: str) -> bool:
    """Ask the sentinels one after another for a failover without a lost write. Return whether one that watches the
    instance has begun it."""
    for sentinel in await recorded(context):
        with suppress(*NODE_GONE, NodeRefused):
            await commands.request(sentinel, context.sentinel_access, [commands.failover_command(instance_id)])
            return True
    return False


async def _watched(context: OperationContext, sentinel: Sentinel) -> dict[str, Watched] | None:
    try:
        return await commands.watched(sentinel, context.sentinel_access)
    except (*NODE_GONE, NodeRefused):
        return None


async def _with_free_port(context: OperationContext, sentinel: Sentinel) -> Sentinel:
    """Give a sentinel another port if another program has taken its port. The others learn it from it."""
    if await asyncio.to_thread(context.host.is_port_free, sentinel.host, sentinel.port):
        return sentinel
    processes = context.host.sentinels
    if await processes.process(sentinel.id) or await processes.is_busy(sentinel.id):
        return sentinel  # it was started meanwhile

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
        place = {"host_name": sentinel.host_name, "host": sentinel.host}
        store.change_place(connection, sentinel.id, **place, port=ports[0].bus)

    await asyncio.to_thread(
        lambda: reserve(context.database, context.host, context.settings, [sentinel.host], change, tls=False)
    )
    log.warning("port %d of sentinel %s is taken; it gets another one", sentinel.port, sentinel.id)
    return next((found for found in await recorded(context) if found.id == sentinel.id), sentinel)
