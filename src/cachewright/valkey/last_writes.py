"""The last writes of a primary that a node of a cluster replaces, and what that node must have before it does.

While the primary makes clients wait with their writes (`CLIENT PAUSE ... WRITE`), the new node applies what the primary
has acknowledged. The pause ends by itself if this process cannot end it, and the primary then serves as before.

Source: CLIENT PAUSE and INFO of Valkey 9.1.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from cachewright.clock import boot_time
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NodeRefused
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import databases, fields, info
from cachewright.valkey.write_pauses import unpause

PAUSE_SECONDS = 5.0
_APPLY_SECONDS = 1.5
"""Time in which the new node must have applied everything. Afterwards the primary has to end within the pause."""

_ANSWER_SECONDS = 1.0
_POLL_SECONDS = 0.002
_SECTIONS = ("replication", "persistence", "keyspace", "stats")


class NotTheSame(Exception):
    """The new node does not have the data of the primary. A further attempt does not help."""


class Pause:
    """A pause of the writes of a primary. It begins before this is created."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._begun_at = boot_time()
        self._begun_at_clock = time.time()

    @property
    def seconds(self) -> float:
        """For how long clients have waited."""
        return boot_time() - self._begun_at

    def require_unfinished(self) -> None:
        """Raise TimeoutError if the primary may serve writes again. It measures the pause by the clock of the system,
        which may have been set meanwhile."""
        if max(self.seconds, time.time() - self._begun_at_clock) >= PAUSE_SECONDS:
            raise TimeoutError("the pause of the writes has ended")

    async def until_applied_by(self, follower: Node, access: Access) -> None:
        """Wait until the follower has applied all writes of the primary. Raises NotTheSame, TimeoutError, one of
        NODE_GONE or NodeRefused."""
        async with asyncio.timeout(_APPLY_SECONDS):
            primary = fields(await self._session.ask("INFO", *_SECTIONS))
            while not has_applied(copy := await info(follower, access, _SECTIONS, _ANSWER_SECONDS), primary):
                await asyncio.sleep(_POLL_SECONDS)
        if difference := difference_of(copy, primary):
            raise NotTheSame(difference)


@asynccontextmanager
async def writes_paused(primary: Node, access: Access) -> AsyncIterator[Pause]:
    """Let the writes of clients wait for the `with` block, for PAUSE_SECONDS at most. Raises one of NODE_GONE or
    NodeRefused."""
    session = await Session.open(primary, access, _ANSWER_SECONDS)
    try:
        pause = Pause(session)
        await session.ask("CLIENT", "PAUSE", round(PAUSE_SECONDS * 1000), "WRITE")
        yield pause
    finally:
        await asyncio.shield(unpause(session))
        session.close()


def has_applied(follower: Mapping[str, str], primary: Mapping[str, str]) -> bool:
    """Whether a follower is connected to the primary and has applied all of its writes, and has them in its append-only
    file, by the fields of INFO. Raises NodeRefused if the primary is none any more."""
    if primary.get("role") != "master":
        raise NodeRefused("the node is no primary any more")
    is_linked = follower.get("role") == "slave" and follower.get("master_link_status") == "up"
    # Offsets of two histories cannot be compared.
    has_same_history = follower.get("master_replid") == primary["master_replid"]
    # After a full synchronization, the file has the data of the one before until it is written again.
    is_saving = any(int(follower.get(f"aof_rewrite_{phase}", 0)) for phase in ("in_progress", "scheduled"))
    if not is_linked or not has_same_history or is_saving:
        return False
    return int(follower.get("slave_repl_offset", -1)) >= int(primary["master_repl_offset"])


def difference_of(follower: Mapping[str, str], primary: Mapping[str, str]) -> str | None:
    """Return why a follower that has applied all writes does not have the data of the primary, by the fields of INFO;
    None if it has."""
    if reason := other_databases(primary):
        return reason
    if errors := int(follower.get("unexpected_error_replies", 0)):
        return f"{errors} commands of the primary are none of a cluster: a client has used another database than 0"
    there, here = keys_of(primary), keys_of(follower)
    return None if there == here else f"the primary has {there} keys, the new node {here}"


def other_databases(said: Mapping[str, str]) -> str | None:
    """Return the reason why a node with keys in other databases than 0 cannot be replaced by one of a cluster, by the
    fields of INFO keyspace; None if it has none."""
    others = {name.removeprefix("db"): keys_of(said, name) for name in databases(said) if name != "db0"}
    used = ", ".join(f"database {name} has {keys} keys" for name, keys in others.items() if keys)
    return f"a cluster has database 0 alone, but {used}" if used else None


def keys_of(said: Mapping[str, str], database: str = "db0") -> int:
    """Return the number of keys of a database, by the fields of INFO keyspace."""
    counted = dict(part.split("=", 1) for part in said.get(database, "").split(",") if "=" in part)
    return int(counted.get("keys", 0))
