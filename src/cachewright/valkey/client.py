"""Short-lived connections of the control plane to nodes, with a time limit for every answer."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from valkey.asyncio import Valkey
from valkey.asyncio.connection import Connection
from valkey.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
from valkey.exceptions import ConnectionError as NodeUnreachable
from valkey.exceptions import ResponseError as NodeRefused
from valkey.exceptions import TimeoutError as NodeSilent

from cachewright.concurrency import until_ended
from cachewright.model.instances import Node
from cachewright.valkey.access import Access, RequireClaim, address
from cachewright.valkey.replies import ErrorReply, meaning_of
from cachewright.valkey.tls_context import tls_options

__all__ = [
    "CONTROL_PLANE",
    "NODE_GONE",
    "NodeBusy",
    "NodeRefused",
    "Valkey",
    "ask",
    "config_set",
    "connect",
    "connect_again",
    "refusal",
]

CONTROL_PLANE = "cachewright"
"""Name of the control plane's connections (CLIENT SETNAME), which do not count as clients."""

NODE_GONE = (NodeUnreachable, NodeSilent, OSError)
"""Errors of a connection to a node that is dead or frozen."""

ANSWER_SECONDS = 7.0
"""Time limit of an answer. A node that runs a script answers nothing for up to 5 s (`lua-time-limit`), and then BUSY.
It must not be taken for a dead node before that."""

_WITHOUT_PREFIX = {
    BusyLoadingError: "LOADING",
    AuthenticationError: "WRONGPASS",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    NoPermissionError: "NOPERM",
}
"""Errors of the client library from which it removes the prefix of the reply."""

_FULL = "max number of clients reached"
_SHOWN_CHARACTERS = 200


class NodeBusy(NodeRefused):
    """The node is alive, but refuses commands while it is in a temporary state (`Meaning` "wait").

    :ivar node_id: id of the node.
    :ivar reply: what the reply means.
    """

    def __init__(self, node_id: str, reply: ErrorReply, text: str) -> None:
        super().__init__(f"node {node_id}: {reply.cause}: {text}"[:_SHOWN_CHARACTERS])
        self.node_id = node_id
        self.reply = reply

    @property
    def status(self) -> str:
        """What a task waits for, without commas and braces."""
        return f"waiting for node {self.node_id}: {self.reply.shown}"


def refusal(node_id: str, text: str) -> NodeRefused:
    """Return the error that an error reply of the node stands for."""
    reply = meaning_of(text)
    return NodeBusy(node_id, reply, text) if reply.meaning == "wait" else NodeRefused(text[:_SHOWN_CHARACTERS])


class _Client(Valkey):
    """A client that raises NodeRefused for every error reply of its node, or NodeBusy."""

    node_id = ""
    require_claim: RequireClaim

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        cancellations = _cancellations()
        try:
            await self.initialize()  # connect first: between the check and the sending, nothing is waited for
            self.require_claim()
            reply = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # as in the library
        except (NodeRefused, NodeUnreachable) as error:
            text = _reply_text(error)
            if text is None:
                raise
            raise refusal(self.node_id, text) from error
        if _cancellations() > cancellations:
            # The library has dropped it, in `asyncio.wait_for` of Python 3.11: it arrived as the command had been sent.
            raise asyncio.CancelledError
        return reply


class _SecuredConnection(Connection):
    """A connection over TCP with TLS."""

    def __init__(self, *, secured: Mapping[str, Any], **options: Any) -> None:
        """:param secured: result of `tls_options`."""
        super().__init__(**options)
        self._secured = secured

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), **self._secured}


def _cancellations() -> int:
    """Return how often the present task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _reply_text(error: Exception) -> str | None:
    """Return the error reply that the library has raised, None if it is no reply of the node."""
    text = str(error)
    for kind, prefix in _WITHOUT_PREFIX.items():
        if isinstance(error, kind):
            return f"{prefix} {text}"
    if text == _FULL:
        return f"ERR {text}"
    return text if isinstance(error, NodeRefused) else None


@asynccontextmanager
async def connect(node: Node, access: Access, answer_seconds: float = ANSWER_SECONDS) -> AsyncIterator[Valkey]:
    """Yield a client of the node for the `with` block. Its commands raise one of NODE_GONE, or NodeRefused;
    the subclass NodeBusy if the node is busy."""
    with address(node, access) as place:
        client = _Client(
            **place.options(),
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            client_name=CONTROL_PLANE,
            lib_name=None,
            lib_version=None,
            decode_responses=True,
            single_connection_client=True,
        )
        if secured := tls_options(place):
            # The library itself reads the key of a client from a file only.
            client.connection_pool.connection_class = _SecuredConnection
            client.connection_pool.connection_kwargs["secured"] = secured
        client.node_id, client.require_claim = node.id, place.require_claim
        try:
            yield client
        except (InvalidResponse, UnicodeDecodeError) as error:  # an unreadable reply counts as a missing one
            raise NodeUnreachable(f"the reply cannot be read: {error}"[:200]) from error
        finally:
            # The library closes its connections in tasks, which would not begin if this one is cancelled meanwhile.
            closing = asyncio.ensure_future(client.aclose())
            await until_ended(closing)
            await closing


async def connect_again(*clients: Valkey) -> None:
    """Renew the connections that their nodes have closed. Nodes close connections that are idle for longer than their
    parameter `timeout`."""
    for client in clients:
        with suppress(*NODE_GONE):
            await client.ping()
            continue
        await client.ping()


async def config_set(client: Valkey, settings: Mapping[str, str]) -> None:
    """Set configuration parameters of the node until its next start, either all or none of them."""
    await ask(client, "CONFIG SET", *(word for setting in settings.items() for word in setting))


async def ask(client: Valkey, *words: object) -> Any:
    """Send one command and return its reply as the client library parses it."""
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped
