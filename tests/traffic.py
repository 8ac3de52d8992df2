"""Clients of a cache that record acknowledged writes, and verify them with every write."""

import threading
import time
from typing import Any

import msgspec
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from caches import FAULTS
from sdk_calls import PASSWORD


class Loss(msgspec.Struct, frozen=True):
    """A write that was acknowledged at `at` (monotonic seconds), and the value found instead."""

    key: str
    count: int
    at: float
    found: int


class Traffic(threading.Thread):
    """Increments its own keys. Errors are expected; losses are not.

    :param host: address of a node.
    :param patience: seconds for which it waits for a reply. A node of a busy machine may take long.
    :param clustered: whether the instance is a cluster.
    """

    def __init__(
        self, number: int, port: int, patience: float = 20, host: str = "127.0.0.1", *, clustered: bool = True
    ) -> None:
        super().__init__(daemon=True)
        self._clustered = clustered
        self._number = number
        self._port = port
        self._host = host
        self._patience = patience
        self._over = threading.Event()
        self._acknowledged: dict[str, tuple[int, float]] = {}
        self.losses: list[Loss] = []
        self.writes = 0
        self.errors = 0

    def run(self) -> None:
        caches: Any = None
        count = 0
        while not self._over.is_set():
            count += 1
            key = f"traffic:{self._number}:{count % 500}"
            try:
                if caches is None:
                    caches = self.connect()
                before, is_safe = self.write(caches, key, count)
                self._require(key, int(before or 0))
                if is_safe:
                    self._acknowledged[key] = (count, time.monotonic())
                    self.writes += 1
            except FAULTS:
                self.errors += 1
                caches = None
                time.sleep(0.05)
            time.sleep(0.002)

    def connect(self) -> Any:
        kind = ValkeyCluster if self._clustered else Valkey
        return kind(host=self._host, port=self._port, password=PASSWORD, socket_timeout=self._patience)

    def write(self, caches: Any, key: str, count: int) -> tuple[Any, bool]:
        """Set a key. Return its former value, and whether the new one must not be lost."""
        return caches.set(key, count, get=True), True

    def finish(self, caches: ValkeyCluster | Valkey) -> None:
        """Stop, and verify the last write to each key."""
        self._over.set()
        self.join()
        for key in self._acknowledged:
            self._require(key, int(caches.get(key) or 0))

    def _require(self, key: str, found: int) -> None:
        count, at = self._acknowledged.get(key, (0, 0.0))
        if found < count:
            self.losses.append(Loss(key, count, at, found))
