"""A valkey-server of another user of this machine, who knows no password and no certificate of the caches."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valkey import Valkey

from cachewright.config import Settings
from cachewright.hosts.ports import free_ports
from serving import Server, until

_NODE_TIMEOUT_MS = 2000


class ForeignServer:
    """:ivar client: a connection to it. Its owner has made it the only member of a cluster, with all slots and an epoch
    above that of any other cluster."""

    def __init__(self, client: Valkey) -> None:
        self.client = client

    def meet(self, node: dict[str, str]) -> None:
        """Asks a node to become a member of its cluster, at each of the node's ports."""
        for peer_port in {node["port"], node.get("tls-port", node["port"])}:
            for bus_port in {node["cluster-port"], node.get("tls-port", node["cluster-port"])}:
                self.client.execute_command("CLUSTER MEET", "127.0.0.1", peer_port, bus_port)

    def members(self) -> set[str]:
        """Ids of nodes that it has exchanged messages with."""
        lines = self.client.execute_command("CLUSTER NODES").values()
        return {line["node_id"] for line in lines if "handshake" not in line["flags"] and "myself" not in line["flags"]}

    def has_given_up(self) -> bool:
        """Whether no node is in a handshake."""
        return all("handshake" not in line["flags"] for line in self.client.execute_command("CLUSTER NODES").values())


@contextmanager
def foreign_server(
    *options: str, binary: Path | None = None, files: dict[str, str] | None = None, user: int | None = None
) -> Iterator[ForeignServer]:
    """Runs as `user`, with `files` in its folder."""
    folder = Path(tempfile.mkdtemp(prefix="foreign-"))
    try:
        program = Path(shutil.copy(binary or Settings(data_dir=folder).valkey_binary, folder / "valkey-server"))
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        if user is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user, user)
        with _running(folder, program, options, user) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", 1_000_000)
            yield ForeignServer(client)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(folder: Path, program: Path, options: tuple[str, ...], user: int | None) -> Iterator[Valkey]:
    ports = free_ports("127.0.0.1", (24000, 32000), set())
    fixed = {
        "bind": "127.0.0.1",
        "port": next(ports),
        "cluster-port": next(ports),
        "unixsocket": folder / "socket",
        "dir": folder,
        "cluster-enabled": "yes",
        "cluster-node-timeout": _NODE_TIMEOUT_MS,
        "save": "",
    }
    words = [str(word) for name, value in fixed.items() for word in (f"--{name}", value)]
    as_user: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    process = subprocess.Popen([program, *words, *options], cwd=folder, stdout=subprocess.DEVNULL, **as_user)
    try:
        until((folder / "socket").exists, "the foreign server does not start")
        with Valkey(unix_socket_path=str(folder / "socket"), decode_responses=True) as client:
            until(client.ping, "the foreign server does not answer")
            yield client
    finally:
        process.kill()
        process.wait()


def settings_of_nodes(server: Server) -> dict[str, dict[str, str]]:
    """What each node's valkey.conf says, by node id."""
    confs = (server.data_dir / "nodes").glob("*/valkey.conf")
    return {conf.parent.name: dict(line.split(" ", 1) for line in conf.read_text().splitlines()) for conf in confs}
