"""Keep the rules that enforce whitelists of clusters as recorded.

Every second they follow changes of the record; every few seconds they are compared with what the kernel has, because
another program may have removed them, and a boot does.
"""

import asyncio
import logging
import time

from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.client_firewall import FirewallFailed
from cachewright.logs import RARELY
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.lasting_faults import LastingFaults
from cachewright.operations import client_firewall
from cachewright.operations.context import OperationContext
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 1.0
_COMPARE_SECONDS = 5.0


class FirewallWatch:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._heartbeats = heartbeats
        self._faults = LastingFaults(incidents, "no_whitelist")
        self._filtered: list[str] = []
        self._failure: str | None = None
        self._change_counter: object | None = None
        self._compared_at = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._heartbeats.beat("firewall watch")
            await self._round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def _round(self) -> None:
        counter = await self._context.database.change_counter()
        is_changed = counter is None or counter != self._change_counter
        if is_changed:
            found = await in_background(client_firewall.filtered_instances, self._context.database)
            self._filtered = [instance.id for instance in found]
        is_due = time.monotonic() - self._compared_at >= _COMPARE_SECONDS
        if is_changed or is_due or self._failure:
            self._failure = await self._load(compare=is_due)
        if is_due:
            self._compared_at = time.monotonic()
        self._change_counter = counter
        for instance_id in self._filtered:
            self._faults.report(instance_id, self._failure)
        self._faults.keep(self._filtered)

    async def _load(self, *, compare: bool) -> str | None:
        """Ensure that the kernel has the rules of the record. Return why it has not.

        :param compare: whether another program may have changed the rules.
        """
        firewall = self._context.host.client_firewall
        try:
            if firewall is not None and compare:
                await in_background(firewall.forget_if_changed)
            if firewall is not None or self._filtered:
                await client_firewall.ensure(self._context.database, self._context.host)
        except FirewallFailed as failure:
            log.warning("whitelists of clusters are not enforced: %s", failure, extra=RARELY)
            return str(failure)
        return None
