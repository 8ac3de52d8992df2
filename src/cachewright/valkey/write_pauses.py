"""The end of a pause of the writes of a node (`CLIENT PAUSE ... WRITE`)."""

from contextlib import suppress

from cachewright.errors import DatabaseUnavailable
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.session import Session


async def unpause(session: Session) -> None:
    """End the pause that this server has begun. It ends by itself if the node does not answer, or if another server may
    have replaced this one and may have begun a pause of its own."""
    with suppress(*NODE_GONE, NodeRefused, DatabaseUnavailable):
        await session.ask("CLIENT", "UNPAUSE", ending=True)
