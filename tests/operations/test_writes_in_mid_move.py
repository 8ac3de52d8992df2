"""Writes into slots while they move: many at a time, and all keys deleted at once."""

import random
import threading
from typing import Any

from valkey import Valkey
from valkey.exceptions import ConnectionError as NodeUnreachable
from valkey.exceptions import ResponseError

from caches import cache, load, operator_of
from granted_handover import newest_job, slow_snapshots
from sdk_calls import PASSWORD, created, ended, resize, show
from serving import Server, until

WRITERS = 4
PIPELINE = 100
KEYS_EACH = 4000
_ATTEMPTS = 5


class Writer(threading.Thread):
    """Writes its own keys with pipelining and records what is acknowledged. Follows MOVED, repeats what fails."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._nodes = {port: connection(port)}
        self._port_of_key: dict[str, int] = {}
        self._first_port = port
        self._over = threading.Event()
        self._random = random.Random(number)
        self.acknowledged: dict[str, str] = {}
        self.writes = 0
        self.refusals: set[str] = set()

    def run(self) -> None:
        count = 0
        while not self._over.is_set():
            batch = {}
            for _ in range(PIPELINE):
                count += 1
                key = f"writer:{self._number}:{self._random.randrange(KEYS_EACH)}"
                batch[key] = f"{count}:" + "x" * self._random.randrange(1000, 4000)
            for _ in range(_ATTEMPTS):
                batch = self._send(batch)
            for key in batch:  # its last value is unknown
                self.acknowledged.pop(key, None)

    def finish(self) -> None:
        self._over.set()
        self.join(30)
        assert not self.is_alive()

    def _send(self, batch: dict[str, str]) -> dict[str, str]:
        """Send values by key to the nodes that are believed to own the keys. Return those that were redirected."""
        again = {}
        for port in {self._port_of_key.get(key, self._first_port) for key in batch}:
            own = {key: value for key, value in batch.items() if self._port_of_key.get(key, self._first_port) == port}
            node = self._nodes.setdefault(port, connection(port))
            pipeline = node.pipeline(transaction=False)
            for key, value in own.items():
                pipeline.set(key, value)
            try:
                replies = pipeline.execute(raise_on_error=False)
            except NodeUnreachable:  # the node has left the instance
                self._port_of_key = {key: known for key, known in self._port_of_key.items() if known != port}
                again |= own
                continue
            for (key, value), reply in zip(own.items(), replies, strict=True):
                if reply is True:
                    self.acknowledged[key] = value
                    self.writes += 1
                elif isinstance(reply, ResponseError) and str(reply).startswith("MOVED"):
                    self._port_of_key[key] = int(str(reply).rpartition(":")[2])
                    again[key] = value
                else:
                    self.refusals.add(str(reply))
        return again


def connection(port: int) -> Valkey:
    return Valkey(host="127.0.0.1", port=port, password=PASSWORD, decode_responses=True)


def test_no_acknowledged_write_is_lost_under_heavy_writes_into_moving_slots(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    port = show(client, instance_id).port
    writers = [Writer(number, port) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    until(lambda: all(writer.writes > KEYS_EACH for writer in writers), "the writers do not write")
    task_ids = [resize(client, instance_id, 2)]
    assert ended(client, instance_id, task_ids[0], seconds=120).status == "SUCCESS"
    task_ids.append(resize(client, instance_id, 1))
    assert ended(client, instance_id, task_ids[1], seconds=120).status == "SUCCESS"
    for writer in writers:
        writer.finish()
    caches = cache(client, instance_id)
    for writer in writers:
        assert writer.refusals == set()
        wrong = [key for key, value in writer.acknowledged.items() if text(caches.get(key)) != value]
        assert wrong == []


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_keys_that_are_flushed_in_mid_move_do_not_come_back(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    caches = cache(client, instance_id)
    load(caches, 200)
    with operator_of(own_server, "127.0.0.1", show(client, instance_id).port, decode_responses=True) as source:
        slow_snapshots(source, key_ms=40)
        task_id = resize(client, instance_id, 2)
        until(lambda: is_snapshotting(source), "no migration")
        assert caches.flushall(target_nodes="primaries")
        if not is_snapshotting(source):  # on a slow machine the keys may have arrived before they were flushed
            assert cache(client, instance_id).flushall(target_nodes="primaries")
        slow_snapshots(source, key_ms=0)
    for number in range(100):
        assert caches.set(f"after:{number}", number)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    caches = cache(client, instance_id)
    assert len(caches.get_primaries()) == 2
    assert sum(caches.dbsize(target_nodes=node) for node in caches.get_primaries()) == 100
    assert {text(caches.get(f"after:{number}")) for number in range(100)} == {str(number) for number in range(100)}


def is_snapshotting(node: Valkey) -> bool:
    try:
        return newest_job(node).state == "snapshotting"
    except IndexError:
        return False
