"""Keep the proxies of instances running as recorded, and renew the certificates that clients see.

Every second it starts proxies that have died, replaces those whose settings the record has changed, and removes those
without an instance.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import HAPROXY_CONFIG
from cachewright.logs import about
from cachewright.model.instances import Instance, Node
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.lasting_faults import LastingFaults
from cachewright.monitoring.repeated_starts import RepeatedStarts
from cachewright.operations import STATUSES_WITH_RUNNING_NODES, client_certificates, proxies
from cachewright.operations.context import OperationContext
from cachewright.store import instances, instances_with_nodes
from cachewright.threads import in_background
from cachewright.topologies import topology_of

log = logging.getLogger(__name__)

_ROUND_SECONDS = 1.0
_RENEWAL_SECONDS = 600.0
_AT_ONCE = 8

_Recorded = tuple[Instance, list[Node]]


class ProxyWatch:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar proxies: number of instances with a proxy, :ivar proxies_up: of those whose proxy runs."""
        self._context = context
        self._heartbeats = heartbeats
        self._starts = RepeatedStarts()
        self._faults = LastingFaults(incidents, "no_proxy")
        self._recorded: Mapping[str, _Recorded] = {}
        self._change_counter: object | None = None
        self._renewed_at = float("-inf")
        self.proxies = self.proxies_up = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._heartbeats.beat("proxy watch")
            counter = await self._context.database.change_counter()
            if counter is None or counter != self._change_counter:
                self._recorded = await in_background(self._read)
                self._change_counter = counter
            await self._round(self._recorded)
            await asyncio.sleep(_ROUND_SECONDS)

    def _read(self) -> Mapping[str, _Recorded]:
        """Return the instances that have a proxy, and their nodes, by the id of the instance."""
        with self._context.database.read() as connection:
            found = instances_with_nodes.at_no_node(connection)
        return {
            instance_id: recorded
            for instance_id, recorded in found.items()
            if not topology_of(recorded[0].spec_code).is_cluster
        }

    async def _round(self, recorded: Mapping[str, _Recorded]) -> None:
        running = {
            instance_id: of_instance
            for instance_id, of_instance in recorded.items()
            if of_instance[0].status in STATUSES_WITH_RUNNING_NODES
        }
        if time.monotonic() - self._renewed_at >= _RENEWAL_SECONDS:
            for instance, _ in running.values():
                if client_certificates.is_due(instance):
                    await in_background(self._renew, instance.id)
            self._renewed_at = time.monotonic()
        up = await gather_limited(lambda of_instance: self._keep(*of_instance), list(running.values()), _AT_ONCE)
        self.proxies, self.proxies_up = len(running), sum(up)
        self._faults.keep(running)
        await self._remove_strays(recorded)

    async def _keep(self, instance: Instance, nodes: list[Node]) -> bool:
        """Ensure that the proxy of an instance runs as recorded. Return whether it does. A task that adds a proxy
        starts it first, when the node has left its port."""
        host = self._context.host
        if instance.status != "RUNNING" and not await host.proxies.has_file(instance.id, HAPROXY_CONFIG):
            return False
        failure: str | None
        if not host.has_haproxy:
            failure = None if await host.proxies.process(instance.id) else proxies.NO_HAPROXY
        else:
            failure = await self._starts.attempt(instance.id, lambda: proxies.ensure(self._context, instance, nodes))
        self._faults.report(instance.id, failure)
        return failure is None

    def _renew(self, instance_id: str) -> None:
        """Record a new certificate for clients, if the present one is due. The next round gives it to the proxy."""
        with self._context.database.write() as connection:
            instance = instances.find(connection, instance_id)
            if instance is not None and client_certificates.is_due(instance):
                certificate = client_certificates.issue(connection, instance.address)
                instances.change_certificate(connection, instance_id, certificate)
                with about(instance_id=instance_id):
                    log.info("the certificate of instance %s is renewed", instance_id)

    async def _remove_strays(self, recorded: Mapping[str, _Recorded]) -> None:
        """Remove proxies without a record: a deletion was interrupted."""
        host = self._context.host
        strays = await host.proxies.with_file(HAPROXY_CONFIG) - recorded.keys()
        if strays:
            now = await in_background(self._read)  # a record is written before its process starts
            for instance_id in strays - now.keys():
                await proxies.remove(self._context, instance_id)
