"""Deletion of all keys of a node.

Source: FLUSHALL, INFO and BGREWRITEAOF of Valkey 9.1.
"""

from contextlib import suppress

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.single_request import Unreadable, databases, info


class DeletionState(msgspec.Struct, frozen=True):
    """:ivar keys: keys that the node has.
    :ivar pending_keys: deleted keys whose memory is not free yet.
    :ivar used_memory: bytes.
    """

    keys: int
    pending_keys: int
    used_memory: int


async def delete_all(node: Node, access: Access) -> None:
    """Delete all keys of a primary, which its replicas repeat. Memory is freed in the background. Raises one of
    NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        await ask(client, "FLUSHALL", "ASYNC")


async def state(node: Node, access: Access) -> DeletionState:
    """Return the progress of a deletion. Raises one of NODE_GONE or NodeRefused."""
    fields = await info(node, access, ("memory", "keyspace"), ANSWER_SECONDS)
    try:
        counts = [fields[name].partition("keys=")[2].partition(",")[0] for name in databases(fields)]
        return DeletionState(
            keys=sum(map(int, counts)),
            pending_keys=int(fields["lazyfree_pending_objects"]),
            used_memory=int(fields["used_memory"]),
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"the memory is unreadable: {error!r}"[:200]) from error


async def shrink_file(node: Node, access: Access) -> None:
    """Start a rewrite of the append-only file, which still has the deleted keys: the next start would read them all. A
    node that cannot do it now does it when the file has grown."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await ask(client, "BGREWRITEAOF")
