"""Replication as one node reports it. Source: INFO of Valkey 9.1."""

import msgspec

from cachewright.model.instances import Node, Role
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Unreadable, info


class Replication(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar offset: bytes of the replication stream that a primary has written, or a replica has applied.
    :ivar is_linked: a replica is connected to its primary and has its data. True for a primary.
    :ivar sync_bytes: bytes of a running full synchronization that a replica has received.
    """

    role: Role
    offset: int
    is_linked: bool
    sync_bytes: int = 0


async def replication_of(node: Node, access: Access, answer_seconds: float = ANSWER_SECONDS) -> Replication:
    """Return the node's replication. Raises one of NODE_GONE or NodeRefused."""
    fields = await info(node, access, ("replication",), answer_seconds)
    try:
        role = ROLES[fields["role"]]
        is_primary = role == "primary"
        return Replication(
            role=role,
            offset=int(fields["master_repl_offset" if is_primary else "slave_repl_offset"]),
            is_linked=is_primary or fields.get("master_link_status") == "up",
            sync_bytes=max(int(fields.get("master_sync_read_bytes", 0)), 0),
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"the replication is unreadable: {error!r}"[:200]) from error
