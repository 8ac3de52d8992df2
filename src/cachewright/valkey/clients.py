"""Who else talks to a node: clients that would wait while something is done to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from cachewright.store.records import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import CONTROL_PLANE, NODE_GONE, NodeRefused, Valkey, ask, connect

_BEAT_SECONDS = 0.01
_FEW = 0.005  # of all requests: half of what is allowed, since more than this makes some of them slow
_OWN = ("cluster", "info", "ping", "config", "eval_ro", "client", "hello", "auth", "replconf", "psync", "dbsize")
_OWN_COMMANDS = tuple(f"cmdstat_{name}" for name in _OWN)


class Custom(msgspec.Struct, frozen=True, kw_only=True):
    """Of one node, at the moment `at`, in seconds of the monotonic clock.

    :ivar connected: clients that are connected; the control plane is none, nor are replicas and migrations.
    :ivar calls: commands since the node's start that were not the control plane's.
    """

    at: float
    connected: int
    calls: int


async def custom(client: Valkey) -> Custom:
    listed = await ask(client, "CLIENT LIST", "TYPE", "normal")
    commands = await client.info("commandstats")
    return Custom(
        at=time.monotonic(),
        connected=sum(other["name"] != CONTROL_PLANE for other in listed),
        calls=sum(said["calls"] for name, said in commands.items() if not name.startswith(_OWN_COMMANDS)),
    )


class Pulse:
    """What a client feels that asks a node a hundred times a second.

    :ivar waits: seconds that each of its requests has taken.
    :ivar ended: when it stopped asking, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.ended = float("inf")

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def end(self) -> None:
        self.ended = time.monotonic()

    def outweighed(self, ceiling: float, now: float) -> bool:
        """Had it gone on asking until `now`, with nothing to wait for, so few of its requests would have taken longer
        than `ceiling` seconds that the rest outweighs them."""
        slow = sum(wait > ceiling for wait in self.waits)
        return slow <= _FEW * (len(self.waits) + (now - self.ended) / _BEAT_SECONDS)

    async def beat(self, client: Valkey) -> None:
        while self.ended > time.monotonic():
            asked = time.perf_counter()
            await client.ping()
            self.waits.append(time.perf_counter() - asked)
            await asyncio.sleep(_BEAT_SECONDS)


@asynccontextmanager
async def heartbeat(node: Node, access: Access) -> AsyncIterator[Pulse]:
    """Asks the node a hundred times a second until the end of the `with` block. A node that is gone is not felt."""
    pulse = Pulse()
    async with connect(node, access) as client:
        beating = asyncio.create_task(pulse.beat(client))
        try:
            yield pulse
        finally:
            pulse.end()  # a cancelled request would leave its answer on the connection
            with suppress(*NODE_GONE, NodeRefused):
                await beating
