"""Keep the sentinels on different hosts, and move them away from hosts that are drained or lost, one after another."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from cachewright.errors import ApiError
from cachewright.hosts.calls import HostSilent
from cachewright.logs import RARELY
from cachewright.model.instances import Node
from cachewright.model.sentinels import FLEET, Sentinel
from cachewright.operations import sentinel_places
from cachewright.operations.context import OperationContext
from cachewright.placement.sentinels import SentinelHost, next_move
from cachewright.threads import in_background
from cachewright.valkey.sentinel import Watched

log = logging.getLogger(__name__)

_SECONDS = 2.0


class SentinelPlaces:
    def __init__(self, context: OperationContext, *, tls: bool) -> None:
        """:param tls: whether these are the sentinels that use TLS."""
        self._context = context
        self._tls = tls
        self._silent_since: dict[str, float] = {}
        self._checked_at = float("-inf")

    async def keep(
        self,
        fleet: Sequence[Sentinel],
        views: Mapping[str, Mapping[str, Watched]],
        nodes: Mapping[str, Sequence[Node]],
    ) -> None:
        """Move a sentinel, if one should be on another host.

        :param views: instances that each sentinel watches, by its id. Those that do not answer are missing.
        :param nodes: of all instances that sentinels watch, by their ids.
        """
        now = time.monotonic()
        if not fleet or not self._context.database.is_shared or now - self._checked_at < _SECONDS:
            return
        self._checked_at = now
        address = self._context.host.address
        bound = {one for one, of_instance in nodes.items() if sentinel_places.only_here(address, of_instance)}
        hosts = await in_background(self._hosts, now, bool(bound))
        due = next_move(fleet, hosts, address, views.keys())
        if due is None:
            return
        answers = due.sentinel.id in views
        if answers and not _may_pause(fleet, views, bound):
            return
        try:
            await sentinel_places.move(self._context, due, answers=answers)
        except (HostSilent, TimeoutError, ApiError) as failure:
            log.warning("sentinel %s does not move to host %s: %s", due.sentinel.id, due.to, failure, extra=RARELY)

    def _hosts(self, now: float, together: bool) -> Mapping[str, SentinelHost]:
        found = sentinel_places.read_hosts(self._context, tls=self._tls, together=together)
        silent = [name for name, host in found.items() if not host.reports]
        self._silent_since = {name: self._silent_since.get(name, now) for name in silent}
        limit = self._context.settings.host_rebuild_seconds
        away = {name for name, since in self._silent_since.items() if now - since >= limit}
        return {name: replace(host, is_away=name in away) for name, host in found.items()}


def _may_pause(fleet: Sequence[Sentinel], views: Mapping[str, Mapping[str, Watched]], bound: Collection[str]) -> bool:
    """Whether the others can perform a failover of each instance while one sentinel is away: all of them know each
    other, and none performs one now. Of instances whose nodes only the host of the server reaches, sentinels elsewhere
    know nothing, and return because of that."""
    judged = [{one: watched for one, watched in view.items() if one not in bound} for view in views.values()]
    watched_by_all = len({tuple(sorted(view)) for view in judged}) <= 1
    return (
        len(views) == len(fleet)
        and watched_by_all
        and all(watched.sentinels >= FLEET - 1 for view in judged for watched in view.values())
        and not any(watched.is_moving for view in views.values() for watched in view.values())
    )
