"""Stop the target of a slot migration that does not complete a handover in time.

Once a source has granted a handover, the target may take the slots at any later moment. The source pauses writes until
then, but not for longer than a time limit of Valkey. A target that is frozen at that moment, and takes the slots after
the limit, makes the source discard every write that it has acknowledged meanwhile. A target that is stopped before the
limit never takes them: it restarts, and the slots stay with the source. See docs/decisions/0037.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import msgspec

from cachewright.concurrency import end_tasks
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.calls import HostSilent
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect
from cachewright.valkey.migration.jobs import Job, is_handover_granted, jobs
from cachewright.valkey.topology import ask_view

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_SAFE_MS = 1500
"""Remaining time of the source's pause at which the target is stopped. Valkey gives a target at least 2 s after the
grant."""

_ANSWER_SECONDS = 0.2
_GRACE_SECONDS = 0.5
_LONGEST_SECONDS = 20.0
"""Time after which a granted handover has ended in any case. Valkey's limit is 10 s."""


class HandoverGuard(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar source: primary that gives slots.
    :ivar target: primary that gets them.
    """

    context: OperationContext
    source: Node
    target: Node
    access: Access

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch handovers within the block. If it fails while a handover is granted, watch until that has ended."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        except Exception:
            with suppress(TimeoutError, *NODE_GONE, NodeRefused):
                async with asyncio.timeout(_LONGEST_SECONDS):
                    await self._until_ended()
            raise
        finally:
            await end_tasks(watcher)

    async def _until_ended(self) -> None:
        """Return when no handover is granted. While the claim is not valid, the source cannot be asked."""
        async with connect(self.source, self.access) as source:
            while True:
                with suppress(DatabaseUnavailable):
                    if not await self._granted(source):
                        return
                await asyncio.sleep(_POLL_SECONDS)

    async def _watch(self) -> None:
        """Watch until cancelled, also after an error: the source may not answer, and the claim to perform tasks may not
        be valid for a moment. Stop the target once for each job: it may be running again before the source ends the
        job."""
        stopped: set[str] = set()
        while True:
            with suppress(*NODE_GONE, NodeRefused, DatabaseUnavailable):
                async with connect(self.source, self.access) as source:
                    while True:
                        late = {name: job for name, job in (await self._late(source)).items() if name not in stopped}
                        if late and not await self._has_taken_over(late.values()) and await self._stop_target():
                            stopped |= late.keys()
                        await asyncio.sleep(_POLL_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    async def _late(self, source: Valkey) -> dict[str, Job]:
        """Return the jobs, by name, whose handover is granted, and whose time to complete it is almost over.

        The jobs are read again after the pause: it has also ended if the target has taken the slots in between.
        """
        granted = await self._granted(source)
        if not granted or await _rest_of_pause(source) >= _SAFE_MS:
            return {}
        still_granted = await self._granted(source)
        return {name: job for name, job in still_granted.items() if name in granted}

    async def _granted(self, source: Valkey) -> dict[str, Job]:
        """Return the jobs to this target whose handover is granted, by name."""
        found = await jobs(source)
        return {job.name: job for job in found if is_handover_granted(job) and job.target_node == self.target.id}

    async def _has_taken_over(self, granted: Iterable[Job]) -> bool:
        """Whether the target answers at once that it owns the slots of these jobs. It may have taken them without the
        source knowing, while that was frozen. A target that is stopped then would only be missed."""
        try:
            view = await ask_view(self.target, self.access, _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused, ValueError):
            return False
        owned = view.owned().get(self.target.id, ())
        wanted = [part for job in granted for part in job.ranges]
        return all(any(own.first <= part.first and part.last <= own.last for own in owned) for part in wanted)

    async def _stop_target(self) -> bool:
        """Stop the target. False if it may still run."""
        log.error(
            "node %s does not complete a handover of slots from node %s; stopping it before its source serves writes",
            self.target.id,
            self.source.id,
        )
        try:
            await self.context.host.stop(self.target.id, _GRACE_SECONDS)
        except (TimeoutError, HostSilent) as error:
            log.error("node %s: %s", self.target.id, error)
            return False
        self.context.hazards.stopped_targets += 1
        return True


async def _rest_of_pause(source: Valkey) -> int:
    """Return the milliseconds for which the node still pauses writes."""
    return int((await source.info("clients")).get("paused_timeout_milliseconds", 0))
