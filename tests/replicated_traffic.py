"""Clients of a cluster whose hosts fail: one that writes to replicas too, and one beside an isolated primary."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from valkey import Valkey
from valkey.cluster import ClusterNode, ValkeyCluster
from valkey.exceptions import ConnectionError as Unreachable
from valkey.exceptions import ResponseError
from valkey.exceptions import TimeoutError as Silent

from machines import Machine
from sdk_calls import PASSWORD, show
from traffic import Traffic

_PATIENCE_SECONDS = 2.0
_WAIT_MS = 500
_PAUSE_SECONDS = 0.01


class ReplicatedTraffic(Traffic):
    """Counts a write only if a replica has confirmed it (WAIT): the loss of one host must not lose that."""

    def __init__(self, number: int, addresses: Sequence[str]) -> None:
        """:param addresses: of nodes, `host:port`."""
        super().__init__(number, 0, patience=_PATIENCE_SECONDS)
        self._addresses = addresses

    def connect(self) -> Any:
        nodes = [ClusterNode(host, int(port)) for host, _, port in (text.partition(":") for text in self._addresses)]
        return ValkeyCluster(startup_nodes=nodes, password=PASSWORD, socket_timeout=self._patience)

    def write(self, caches: Any, key: str, count: int) -> tuple[Any, bool]:
        node = caches.get_node_from_key(key)
        with caches.get_valkey_connection(node).pipeline(transaction=False) as pipeline:
            pipeline.set(key, count, get=True)
            pipeline.wait(1, _WAIT_MS)
            before, copies = pipeline.execute()
        return before, copies >= 1


def addresses_of(client: Any, instance_id: str) -> list[str]:
    """Addresses of the nodes of an instance."""
    return [str(address) for address in show(client, instance_id).backend_addrs.split(",")]


class Acknowledged(msgspec.Struct, frozen=True):
    """A write that a primary has acknowledged at this time, in monotonic seconds."""

    count: int
    at: float


class NeighbourOfPrimary(threading.Thread):
    """A client on the machine of a primary. It writes to that one until it refuses, and then no more.

    :ivar acknowledged: its writes, in order.
    :ivar refusal: of the first write that was refused.
    """

    def __init__(self, machine: Machine, port: int, key: str) -> None:
        """:param key: in a slot of that primary."""
        super().__init__(daemon=True)
        self._machine = machine
        self._port = port
        self.key = key
        self.acknowledged: list[Acknowledged] = []
        self.refusal: Exception | None = None

    def run(self) -> None:
        with (
            self._machine.entered(),
            Valkey(
                host=self._machine.address, port=self._port, password=PASSWORD, socket_timeout=_PATIENCE_SECONDS
            ) as direct,
        ):
            while self.refusal is None:
                count = len(self.acknowledged) + 1
                try:
                    direct.set(self.key, count)
                except (ResponseError, Unreachable, Silent) as refused:
                    self.refusal = refused
                else:
                    self.acknowledged.append(Acknowledged(count, time.monotonic()))
                time.sleep(_PAUSE_SECONDS)

    def lost(self, found: int) -> list[Acknowledged]:
        """The writes after the one that was found."""
        return [write for write in self.acknowledged if write.count > found]
