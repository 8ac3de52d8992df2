"""The port for clients of a real node, which a task and the supervision may open at the same time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from cachewright.valkey import node_control
from cachewright.valkey.access import Access
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import Valkey, ask, config_set, connect
from cachewright.valkey.node_control import is_open_to_clients, open_to_clients
from standalone_node import started

SECRET = "of-the-control-plane"
LINES = ("unixsocket valkey.sock", f"user {CONTROL_USER} on >{SECRET} ~* &* +@all")


def listener_at(port: int) -> str:
    """Inode of the socket that listens at the port (proc_pid_net(5))."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    (inode,) = {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
    return inode


async def test_a_port_that_is_opened_twice_at_once_keeps_its_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_found_it_closed, in_turn = asyncio.Barrier(2), asyncio.Lock()
    listeners: list[str] = []

    async def after_the_other_has_looked(client: Valkey, settings: Mapping[str, str]) -> None:
        await both_found_it_closed.wait()
        async with in_turn:
            await config_set(client, settings)
            listeners.append(listener_at(node.port))

    async with started(tmp_path, *LINES) as made:
        node = msgspec.structs.replace(made, access="socket")
        access = Access(SECRET, None, tmp_path / "nodes")
        async with connect(node, access) as client:
            await ask(client, "CONFIG SET", "port", 0)
        assert not await is_open_to_clients(node, access)
        monkeypatch.setattr(node_control, "config_set", after_the_other_has_looked)
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(open_to_clients(node, access) for _ in range(2))) == [True, True]
        assert await is_open_to_clients(node, access)
        assert not await open_to_clients(node, access)
    first, second = listeners
    assert first == second, "a client that had just connected was reset"
