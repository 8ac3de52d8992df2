"""Nodes that answer BUSY because a real script runs on them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from valkey.exceptions import ConnectionError as NodeGone
from valkey.exceptions import ResponseError

from caches import operator_of
from serving import Server, until

SCRIPT = """
local function now() local time = redis.call('TIME'); return time[1] + time[2] / 1000000 end
local last = now() + tonumber(ARGV[1])
while now() < last do end
"""


def folder_id(process: psutil.Process) -> str:
    """Id of the node of this process, which its folder is named after."""
    word = next(word for word in process.cmdline() if word.endswith("valkey.conf"))
    return word.split("/")[-2]


def port_of(server: Server, node_id: str) -> int:
    lines = (server.data_dir / "nodes" / node_id / "valkey.conf").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("port "))


def control(server: Server, node_id: str, **options: Any) -> Any:
    """A connection to the node as the control plane's user."""
    return operator_of(server, "127.0.0.1", port_of(server, node_id), **options)


@contextmanager
def busy(server: Server, node_id: str, seconds: float) -> Iterator[None]:
    """Run a script on the node for this time, which begins before the `with` block. The script has ended after it."""
    begun = threading.Event()

    def run() -> None:
        with control(server, node_id, socket_timeout=None) as node, suppress(ResponseError, NodeGone):
            node.ping()
            begun.set()
            node.execute_command("EVAL", SCRIPT, 0, seconds)

    with control(server, node_id) as killer:
        script = threading.Thread(target=run)
        script.start()
        begun.wait()
        try:
            yield
        finally:
            with suppress(ResponseError, NodeGone):
                killer.execute_command("SCRIPT", "KILL")
            script.join()


def answers_busy_soon(server: Server, node_id: str) -> None:
    """Make the node answer BUSY after a tenth of a second instead of five."""
    with control(server, node_id) as node:
        node.config_set("busy-reply-threshold", 100)


def until_busy(server: Server, node_id: str) -> None:
    with control(server, node_id) as node:
        until(lambda: _is_busy(node), f"node {node_id} does not answer BUSY")


def _is_busy(node: Any) -> bool:
    try:
        node.ping()
    except ResponseError as error:
        return str(error).startswith("BUSY")
    return False
