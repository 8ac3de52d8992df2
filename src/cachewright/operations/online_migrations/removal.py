"""Removal of gateways. All functions ensure their result and may be repeated."""

import asyncio
import logging

from cachewright.hosts.calls import HostSilent
from cachewright.jobs.spec import RemoveGateways, encoded
from cachewright.logs import RARELY
from cachewright.model.hosts import EMBEDDED
from cachewright.model.online_migrations import GATEWAY_HOST, OnlineMigration
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.run import machine_of
from cachewright.store import hosts
from cachewright.store import online_migrations as store

log = logging.getLogger(__name__)

_REMOVAL_SECONDS = 10.0


async def remove_gateways(context: OperationContext, task: Task) -> None:
    """Remove the gateways of a migration with their data. Those on a host that does not report are removed when it
    reports again. Raises HostSilent."""
    migration_id = str(task.params["migration_id"])
    await machine_of(context).remove_gateways(migration_id)
    host_name = await _host_of(context, task)
    if host_name not in await _hosts_with_agents(context):
        return
    nodes = await context.nodes(task.instance_id)
    if node_id := next((node.id for node in nodes if node.host_name == host_name), None):
        await _remove_elsewhere(context, node_id, migration_id)


async def remove_gateways_or_leave_them(context: OperationContext, task: Task) -> None:
    """Same as `remove_gateways`, but leave gateways to an agent that does not answer."""
    try:
        await remove_gateways(context, task)
    except HostSilent as silent:
        log.warning("gateways of task %s are left to their agent: %s", task.id, silent)


async def _host_of(context: OperationContext, task: Task) -> str:
    """Return the name of the host of the gateways of the task; that of the server if the record is deleted."""

    def read() -> OnlineMigration | None:
        with context.database.read() as connection:
            return store.get(connection, task.project_id, str(task.params["migration_id"]))

    migration = await asyncio.to_thread(read)
    return str(migration.attributes.get(GATEWAY_HOST, EMBEDDED)) if migration else EMBEDDED


async def remove_unused_gateways(context: OperationContext) -> None:
    """Remove gateways of migrations that do not run, or run on another host: a deletion of their instance leaves them,
    and a host that is lost for some time."""
    await _remove_unused_here(context)
    hosts_with_agents = await _hosts_with_agents(context)
    if not any(hosts_with_agents.values()) or not context.database.claim.is_held:
        return

    def read() -> tuple[dict[str, str], dict[str, str]]:
        with context.database.read() as connection:
            return store.places_of_running(connection), hosts.by_node(connection)

    places, by_node = await asyncio.to_thread(read)
    node_on = {host_name: node_id for node_id, host_name in by_node.items()}
    for host_name, found in hosts_with_agents.items():
        unused = next((each for each in found if places.get(each) != host_name), None)  # the others in later rounds
        if unused is None or host_name not in node_on:
            continue
        try:
            await _remove_elsewhere(context, node_on[host_name], unused)
        except HostSilent as silent:
            log.warning("gateways of migration %s cannot be removed now: %s", unused, silent, extra=RARELY)


async def _remove_unused_here(context: OperationContext) -> None:
    machine = machine_of(context)
    found = await machine.migrations()
    if not found:
        return

    def running() -> set[str]:
        with context.database.read() as connection:
            return store.running(connection)

    for migration_id in found - await asyncio.to_thread(running):
        await machine.remove_gateways(migration_id)


async def _remove_elsewhere(context: OperationContext, node_id: str, migration_id: str) -> None:
    """Remove gateways on the host of a node. Raises HostSilent."""
    job = encoded(RemoveGateways(migration_id=migration_id))
    state = await context.host.perform_job(node_id, f"removal {migration_id}", job, _REMOVAL_SECONDS)
    if not state.has_ended or state.failure is not None:
        raise HostSilent(f"gateways are not removed: {state.text}")


async def _hosts_with_agents(context: OperationContext) -> dict[str, tuple[str, ...]]:
    """Return the migrations with gateways on each other host that reports and runs gateways."""
    measured = await asyncio.to_thread(context.host.measured)
    return {name: host.gateways for name, host in measured.items() if host.gateways is not None}
