"""Copy function libraries to new nodes, so that clients find there what they find on the other nodes.

Parameters and users are the same on all nodes by valkey.conf. Scripts (SCRIPT LOAD) are not copied: Valkey neither
replicates nor stores them, and after a NOSCRIPT error clients send EVAL. See docs/decisions/0036.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from cachewright.concurrency import end_tasks, gather_limited
from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.model.tasks import SubStep, Task
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect
from cachewright.valkey.equality import Definitions, Difference, compare, merged
from cachewright.valkey.functions import (
    LibrariesVersion,
    change_libraries,
    function_libraries,
    has_libraries,
    libraries_version,
)
from cachewright.valkey.migration.failure import MigrationFailed

log = logging.getLogger(__name__)

_AT_ONCE = 16
_POLL_SECONDS = 0.1
_POLL_SHARE = 20
"""The pause between two comparisons is at least this multiple of the time that a comparison takes."""

_LAST_SECONDS = 5.0


async def copy_libraries(new: Sequence[Node], old_primaries: Sequence[Node], access: Access) -> None:
    """Give new nodes the function libraries of the primaries that serve clients.

    Replicas get the libraries from their primary. Raises one of NODE_GONE or NodeRefused."""
    if not old_primaries:
        return
    libraries = merged(await gather_limited(lambda node: _libraries(node, access), old_primaries, _AT_ONCE))
    new_primaries = [node for node in new if node.role == "primary"]
    await gather_limited(lambda node: _make_libraries_equal(node, libraries, access), new_primaries, _AT_ONCE)


def joined_in(task: Task) -> frozenset[str]:
    """Ids of nodes that join the instance in this task."""
    return _node_ids(_joins(task))


def joining_in(task: Task) -> frozenset[str]:
    """Ids of nodes that join the instance in this task and are not ready for clients yet."""
    unfinished = {"WAITING", "EXECUTING"}
    following = {sub.arguments["node_id"] for sub in _of(task, "add replica") if sub.status in unfinished}
    return _node_ids(sub for sub in _joins(task) if sub.status in unfinished) | following


def _joins(task: Task) -> list[SubStep]:
    return _of(task, "join cluster")


def _of(task: Task, action: str) -> list[SubStep]:
    return [sub for step in task.steps for sub in step.sub_steps if sub.action == action]


def _node_ids(joins: Iterable[SubStep]) -> frozenset[str]:
    return frozenset(node_id for sub in joins for node_id in sub.arguments["node_ids"])


class Follower(msgspec.Struct, frozen=True, kw_only=True):
    """Keeps the function libraries of a target equal to those of the source during a move.

    :ivar source: primary that gives slots.
    :ivar target: primary that gets them.
    :ivar old_primaries: primaries that were in the instance before the task. If the target is not one of them, its
        libraries become equal to theirs. Otherwise it only gets what it lacks: its own libraries are never replaced or
        deleted.
    """

    source: Node
    target: Node
    old_primaries: Sequence[Node]
    access: Access

    @property
    def is_new(self) -> bool:
        """Whether the target joined in this task."""
        return self.target.id not in {node.id for node in self.old_primaries}

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Keep the libraries of the target equal within the block, so that no slot arrives before a library that its
        source has. Clients load libraries on the primaries that they know, and these may not include the target.

        Raises MigrationFailed if a node does not answer at the begin or at the end, NodeRefused if it refuses. In
        between, such errors are logged and the next comparison tries again.
        """
        await self._settle()
        follower = asyncio.create_task(self._follow())
        try:
            yield
        except Exception:
            await end_tasks(follower)
            # slots that have arrived stay with the target
            with suppress(MigrationFailed, NodeRefused, TimeoutError, DatabaseUnavailable):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._settle()
            raise
        finally:
            await end_tasks(follower)
        await self._settle()

    async def _follow(self) -> None:
        """Compare and change until cancelled. A library is deleted only if two comparisons agree, because a client may
        be loading it on one primary after another. Consecutive errors are logged once."""
        obsolete: frozenset[str] = frozenset()
        equal: tuple[LibrariesVersion, LibrariesVersion] | None = None
        failing = False
        async with connect(self.source, self.access) as source, connect(self.target, self.access) as target:
            while True:
                start = time.monotonic()
                try:
                    versions = await libraries_version(source), await libraries_version(target)
                    if versions != equal:
                        difference = await self._difference(source, target)
                        await self._change(target, _without_new_extra(difference, obsolete))
                        obsolete, equal = difference.extra, None if difference else versions
                    failing = False
                except (*NODE_GONE, NodeRefused, DatabaseUnavailable) as error:
                    if not failing:
                        names = self.source.id, self.target.id
                        log.warning("function libraries of nodes %s and %s could not be compared: %s", *names, error)
                    failing = True
                await asyncio.sleep(max(_POLL_SECONDS, _POLL_SHARE * (time.monotonic() - start)))

    async def _settle(self) -> None:
        """Make the libraries of the target equal once. A library is deleted only if two comparisons agree. Raises
        MigrationFailed or NodeRefused."""
        try:
            if not any(
                await asyncio.gather(*(has_libraries(node, self.access) for node in (self.source, self.target)))
            ):
                return
            async with connect(self.source, self.access) as source, connect(self.target, self.access) as target:
                difference = await self._difference(source, target)
                await self._change(target, _without_new_extra(difference, frozenset()))
                if difference.extra:
                    await asyncio.sleep(_POLL_SECONDS)
                    again = await self._difference(source, target)
                    await self._change(target, _without_new_extra(again, difference.extra))
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error

    async def _difference(self, source: Valkey, target: Valkey) -> Difference:
        """Compare source and target, and ask the other primaries only if these two differ."""
        of_source, of_target = await function_libraries(source), await function_libraries(target)
        difference = compare(of_source, of_target)
        if not self.is_new:
            return Difference(missing=difference.missing, different={}, extra=frozenset())
        if not difference:
            return difference
        others = [node for node in self.old_primaries if node.id != self.source.id]
        of_others = await gather_limited(lambda node: _libraries(node, self.access), others, _AT_ONCE)
        return compare(merged([of_source, *of_others], of_target), of_target)

    async def _change(self, target: Valkey, difference: Difference) -> None:
        if not difference:
            return
        refused = await change_libraries(target, difference)
        changed = ", ".join(sorted(difference.names - refused))
        if changed:
            log.info(
                "function libraries of node %s were made equal to those of node %s: %s",
                self.target.id,
                self.source.id,
                changed,
            )


def _without_new_extra(difference: Difference, obsolete: frozenset[str]) -> Difference:
    """Return a difference whose extra libraries are only those that an earlier comparison has found, too."""
    return msgspec.structs.replace(difference, extra=difference.extra & obsolete)


async def _libraries(node: Node, access: Access) -> Definitions:
    async with connect(node, access) as client:
        return await function_libraries(client)


async def _make_libraries_equal(node: Node, wanted: Definitions, access: Access) -> None:
    async with connect(node, access) as client:
        difference = compare(wanted, await function_libraries(client))
        if refused := await change_libraries(client, difference) if difference else None:
            names = ", ".join(sorted(refused))
            log.warning(
                "node %s cannot have function libraries %s: other libraries have functions of the same names",
                node.id,
                names,
            )
