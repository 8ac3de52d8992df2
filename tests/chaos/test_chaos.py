"""Random tasks under client traffic while random processes are killed and frozen, from a printed seed.

At the end: every task has ended, every acknowledged write is there, every slot is owned once, every node agrees, and
nothing is left behind. `CHAOS_SEED` replays a run's decisions, `CHAOS_MINUTES` makes it longer; so does
`make chaos MINUTES=n`.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ValkeyClusterException, ValkeyError

from cachewright.valkey.slots import SLOTS
from serving import (
    PASSWORD,
    Server,
    cache,
    created,
    ended,
    freeze,
    newest_task,
    progress,
    resize,
    show,
    states,
    thaw,
    until,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("CHAOS_MINUTES", "2"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**9)))
KEYS = 40_000
GET_OVER_SECONDS = 120
FAULTS = (ValkeyError, ValkeyClusterException, OSError)


class Traffic(threading.Thread):
    """Counts up on keys of its own and remembers what was acknowledged. Errors are expected; losses are not."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._port = port
        self._over = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.errors = 0

    def run(self) -> None:
        caches, count = None, 0
        while not self._over.is_set():
            count += 1
            key = f"traffic:{self._number}:{count % 500}"
            try:
                if caches is None:
                    caches = ValkeyCluster(host="127.0.0.1", port=self._port, password=PASSWORD, socket_timeout=2)
                caches.set(key, count)
                self.acknowledged[key] = count
            except FAULTS:
                self.errors += 1
                caches = None
                time.sleep(0.05)
            time.sleep(0.002)

    def finish(self) -> None:
        self._over.set()
        self.join()


class Chaos:
    """Strikes by the seed, and the list of what was struck."""

    def __init__(self, server: Server, instance_id: str, seed: int) -> None:
        self.server = server
        self.instance_id = instance_id
        self.random = random.Random(seed)
        self.events: list[str] = []
        self._begun = time.monotonic()

    def note(self, event: str) -> None:
        self.events.append(f"{time.monotonic() - self._begun:7.2f} s  {event}")

    def strike(self) -> None:
        strikes: list[Callable[[], None]] = [self._kill_server, self._kill_node, self._freeze_node]
        self.random.choice(strikes)()

    def _kill_server(self) -> None:
        self.note("kill -9 server")
        self.server.kill()
        time.sleep(self.random.uniform(0, 1))
        self.server.start()

    def _kill_node(self) -> None:
        if node := self._any_node():
            self.note(f"kill -9 node {node.pid}")
            node.kill()

    def _freeze_node(self) -> None:
        if node := self._any_node():
            seconds = self.random.uniform(1, 8)
            self.note(f"freeze node {node.pid} for {seconds:.1f} s")
            freeze(node)
            time.sleep(seconds)
            if node.is_running():
                thaw(node)

    def _any_node(self) -> psutil.Process | None:
        nodes = sorted(self.server.nodes(), key=lambda node: node.pid)
        return self.random.choice(nodes) if nodes else None


def test_nothing_is_lost_and_nothing_hangs(own_server: Server) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES}")
    client = own_server.client()
    instance_id = created(client, 2)
    caches = cache(client, instance_id)
    for start in range(0, KEYS, 1000):
        pipeline = caches.pipeline()
        for number in range(start, start + 1000):
            pipeline.set(f"key:{number}", "x" * 400)
        pipeline.execute()
    traffic = [Traffic(number, show(client, instance_id).port) for number in range(2)]
    for thread in traffic:
        thread.start()
    chaos = Chaos(own_server, instance_id, SEED)
    try:
        rounds(chaos)
        for thread in traffic:
            thread.finish()
        check(chaos, traffic)
    except BaseException:
        print("\n".join(["", f"CHAOS_SEED={SEED}", *chaos.events, own_server.log()[-6000:]]))
        raise


def rounds(chaos: Chaos) -> None:
    deadline = time.monotonic() + 60 * MINUTES
    while time.monotonic() < deadline:
        client = chaos.server.client()
        settled(client, chaos.instance_id)
        now = show(client, chaos.instance_id).sharding_count
        wanted = chaos.random.choice([shards for shards in range(1, 6) if shards != now])
        task_id = resize(client, chaos.instance_id, wanted)
        chaos.note(f"scale from {now} to {wanted}: {task_id}")
        seen = 0
        for _ in range(chaos.random.randrange(1, 4)):
            time.sleep(chaos.random.uniform(0, 2))
            chaos.strike()
            client = chaos.server.client()
            shown = progress(client, chaos.instance_id, task_id).progress
            assert shown >= seen, f"the percent went down from {seen} to {shown}"
            seen = shown
        row = ended(client, chaos.instance_id, task_id, GET_OVER_SECONDS)
        chaos.note(f"{row.status} {row.error_code if hasattr(row, 'error_code') else ''}")


def settled(client: Any, instance_id: str) -> None:
    """Usable again, whatever the last task came to."""
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not usable", GET_OVER_SECONDS)
    until(lambda: answers(client, instance_id), "the cluster is not whole", GET_OVER_SECONDS)


def answers(client: Any, instance_id: str) -> bool:
    try:
        return states(cache(client, instance_id)) == {"ok"}
    except FAULTS:
        return False


def check(chaos: Chaos, traffic: list[Traffic]) -> None:
    client = chaos.server.client()
    settled(client, chaos.instance_id)
    assert newest_task(client, chaos.instance_id).status in {"SUCCESS", "FAILED"}
    caches = cache(client, chaos.instance_id)
    present = sum(
        caches.exists(*(f"key:{number}" for number in range(start, start + 1000))) for start in range(0, KEYS, 1000)
    )
    assert present == KEYS, "keys are missing"
    for thread in traffic:
        lost = {
            key: (count, caches.get(key))
            for key, count in thread.acknowledged.items()
            if int(caches.get(key) or 0) < count
        }
        assert not lost, "acknowledged writes are lost"
        assert thread.acknowledged
    nodes = [node for node in caches.cluster_nodes().values() if node["slots"]]
    assert sum(int(part[-1]) - int(part[0]) + 1 for node in nodes for part in node["slots"]) == SLOTS
    assert not any(node["migrations"] for node in nodes)
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=chaos.instance_id))
    until(lambda: gone(client, chaos.instance_id), "the instance is not gone")
    assert not chaos.server.nodes()
    assert not list((chaos.server.data_dir / "nodes").iterdir())
    print("\n".join(["", *chaos.events, f"writes: {sum(len(t.acknowledged) for t in traffic)} keys, all there"]))


def gone(client: Any, instance_id: str) -> bool:
    try:
        show(client, instance_id)
    except SdkException:
        return True
    return False
