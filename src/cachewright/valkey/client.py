"""Short-lived connections of the control plane to nodes, with a time limit for every answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from valkey.asyncio import Valkey
from valkey.exceptions import ConnectionError as NodeUnreachable
from valkey.exceptions import InvalidResponse
from valkey.exceptions import ResponseError as NodeRefused
from valkey.exceptions import TimeoutError as NodeSilent

from cachewright.model.instances import Node
from cachewright.valkey.access import Access, address

__all__ = ["CONTROL_PLANE", "NODE_GONE", "NodeRefused", "Valkey", "ask", "connect", "connect_again"]

CONTROL_PLANE = "cachewright"
"""Name of the control plane's connections (CLIENT SETNAME), which do not count as clients."""

NODE_GONE = (NodeUnreachable, NodeSilent, OSError)
"""Errors of a connection to a node that is dead, frozen or still loading its data."""

_ANSWER_SECONDS = 5.0


@asynccontextmanager
async def connect(node: Node, access: Access, answer_seconds: float = _ANSWER_SECONDS) -> AsyncIterator[Valkey]:
    """Yield a client of the node for the `with` block. Its commands raise one of NODE_GONE or NodeRefused."""
    with address(node, access) as place:
        client = Valkey(
            **place.options(),
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            client_name=CONTROL_PLANE,
            lib_name=None,
            lib_version=None,
            decode_responses=True,
            single_connection_client=True,
        )
        try:
            yield client
        except (InvalidResponse, UnicodeDecodeError) as error:  # an unreadable reply counts as a missing one
            raise NodeUnreachable(f"the reply cannot be read: {error}"[:200]) from error
        finally:
            await client.aclose()


async def connect_again(*clients: Valkey) -> None:
    """Renew the connections that their nodes have closed. Nodes close connections that are idle for longer than their
    parameter `timeout`."""
    for client in clients:
        with suppress(*NODE_GONE):
            await client.ping()
            continue
        await client.ping()


async def ask(client: Valkey, *words: object) -> Any:
    """Send one command and return its reply as the client library parses it."""
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped
