"""Every node that accepts connections knows the owner of every slot while a cluster changes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest
from valkey import Valkey
from valkey.exceptions import ConnectionError as Unreachable
from valkey.exceptions import ResponseError
from valkey.exceptions import TimeoutError as Silent

from caches import cache, load
from sdk_calls import PASSWORD, created, ended, held_in_migration, newest_task, resize, show
from serving import Server, freeze, thaw, until

SLOTS = 16384


class Watcher:
    """Asks every port of the nodes of a server for the map of the cluster, on new connections and on one that stays.

    :ivar wrong: answers that are no whole map, with the port and the time since the start.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._start = time.monotonic()
        self._stopped = threading.Event()
        self._asking: dict[int, threading.Thread] = {}
        self.wrong: list[str] = []
        self.answers = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            for port in ports(self._server) - self._asking.keys():
                self._asking[port] = threading.Thread(target=self._ask_until_stopped, args=(port,))
                self._asking[port].start()
            time.sleep(0.01)
        for asking in self._asking.values():
            asking.join()

    def stop(self) -> None:
        self._stopped.set()

    def _ask_until_stopped(self, port: int) -> None:
        staying = Valkey(port=port, password=PASSWORD, socket_timeout=5)
        while not self._stopped.is_set():
            self._check(port, staying)
            with Valkey(port=port, password=PASSWORD, socket_timeout=5) as new:
                self._check(port, new)
            time.sleep(0.04)
        staying.close()

    def _check(self, port: int, client: Any) -> None:
        try:
            covered = [
                in_slots(client.execute_command("CLUSTER", "SLOTS")),
                in_shards(client.execute_command("CLUSTER", "SHARDS")),
                in_nodes(client.execute_command("CLUSTER", "NODES")),
            ]
            state = client.execute_command("CLUSTER", "INFO").decode().split("\r\n")[0]
            if covered != [SLOTS] * 3 or state != "cluster_state:ok":
                self._note(port, f"{covered} {state}")
            self.answers += 1
        except (Unreachable, Silent):
            pass
        except ResponseError as error:
            self._note(port, str(error))

    def _note(self, port: int, answer: str) -> None:
        self.wrong.append(f"{time.monotonic() - self._start:.3f} s, port {port}: {answer}")


def ports(server: Server) -> set[int]:
    found = set()
    for conf in (server.data_dir / "nodes").glob("[!.]*/valkey.conf"):
        try:
            text = conf.read_text()
        except OSError:
            continue
        found |= {int(line.split()[1]) for line in text.splitlines() if line.startswith("port ")}
    return found


def in_slots(rows: Any) -> int:
    return sum(row[1] - row[0] + 1 for row in rows)


def in_shards(rows: Any) -> int:
    ranges = [dict(zip(row[::2], row[1::2], strict=True))[b"slots"] for row in rows]
    return sum(last - first + 1 for slots in ranges for first, last in zip(slots[::2], slots[1::2], strict=True))


def in_nodes(text: bytes) -> int:
    covered = 0
    for line in text.decode().splitlines():
        for part in line.split()[8:]:
            if not part.startswith("["):
                first, _, last = part.partition("-")
                covered += int(last or first) - int(first) + 1
    return covered


@contextmanager
def watched(server: Server) -> Iterator[Watcher]:
    watcher = Watcher(server)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.stop()
        thread.join()


def restart(client: Any, instance_id: str) -> str:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    return str(newest_task(client, instance_id).id)


@pytest.mark.parametrize("copies", [1, 2])
def test_every_node_that_can_be_reached_knows_all_slots(own_server: Server, copies: int) -> None:
    client = own_server.client()
    with watched(own_server) as watcher:
        instance_id = created(client, 3, copies=copies)
        load(cache(client, instance_id), 5_000)
        for shards in (5, 3):
            task_id = resize(client, instance_id, shards, copies=copies)
            assert ended(client, instance_id, task_id).status == "SUCCESS"
        assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
        time.sleep(0.2)
    assert watcher.answers > 100
    assert not watcher.wrong, "\n".join(watcher.wrong)


def test_a_killed_node_is_reached_when_it_knows_the_cluster(own_server: Server) -> None:
    client = own_server.client()
    created(client, 3)
    with watched(own_server) as watcher:
        time.sleep(0.2)
        struck = own_server.nodes()[0]
        struck.kill()
        struck.wait(60)
        until(lambda: len(own_server.nodes()) == 3, "the node is not restarted")
        until(lambda: all(answers(port) for port in ports(own_server)), "a port stays closed")
    assert not watcher.wrong, "\n".join(watcher.wrong)


def test_a_node_is_reached_although_another_one_is_frozen_and_a_task_is_paused(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 4)
    task_id = held_in_migration(own_server, client, instance_id, 5)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert own_server.call("PUT", path, {"state": "paused"})[0] == 200
    first, second, *_ = [int(node.port) for node in cache(client, instance_id).get_primaries()]
    by_port = {port_of(process): process for process in own_server.nodes()}
    frozen = by_port[first]
    freeze(frozen)
    try:
        by_port[second].kill()
        by_port[second].wait(60)
        until(lambda: answers(second), "the killed node stays closed")
    finally:
        thaw(frozen)


def port_of(process: psutil.Process) -> int:
    conf = next(Path(word) for word in process.cmdline() if word.endswith("valkey.conf"))
    return next(int(line.split()[1]) for line in conf.read_text().splitlines() if line.startswith("port "))


def answers(port: int) -> bool:
    try:
        with Valkey(port=port, password=PASSWORD, socket_timeout=1) as node:
            return bool(node.ping())
    except (Unreachable, Silent):
        return False


def test_ports_are_opened_by_the_next_server(own_server: Server) -> None:
    """A server that ends before it has opened the port of a node leaves that to the next."""
    client = own_server.client()
    instance_id = created(client, 3)
    restart(client, instance_id)
    until(lambda: show(client, instance_id).status == "RESTARTING", "the restart has not begun")
    own_server.kill()
    for process in own_server.nodes():
        with suppress(psutil.NoSuchProcess):  # it was restarting
            process.kill()
    own_server.start()
    until(lambda: len(ports(own_server)) == 3 and all(map(answers, ports(own_server))), "a port stays closed")
