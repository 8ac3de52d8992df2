"""A valkey-server of somebody else on this machine, who knows no password."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from valkey import Valkey
from valkey.exceptions import ConnectionError as NotThere

from cachewright.config import Settings

EPOCH = 1_000_000


class Stranger:
    """:ivar id: its node id."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.client = Valkey(port=port, decode_responses=True)
        self.id = str(self.command("CLUSTER", "MYID"))

    def command(self, *words: object) -> Any:
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library leaves it untyped

    def claim(self, first: int = 0, last: int = 16383) -> None:
        """Says that it owns these slots, with an epoch that beats every other."""
        self.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        self.command("CLUSTER", "SET-CONFIG-EPOCH", EPOCH)

    def meet(self, port: int, bus_port: int) -> None:
        self.command("CLUSTER", "MEET", "127.0.0.1", port, bus_port)

    def known(self) -> set[str]:
        """Ids of the members that it knows, itself included."""
        return {line.split()[0] for line in self.command("CLUSTER", "NODES").splitlines()}


@contextmanager
def stranger(folder: Path, node_id: str | None = None) -> Iterator[Stranger]:
    """Runs within the block, with this node id where one is given."""
    folder.mkdir()
    port, bus_port = _free_port(), _free_port()
    if node_id:
        itself = f"{node_id} 127.0.0.1:{port}@{bus_port} myself,master - 0 0 0 connected"
        (folder / "nodes.conf").write_text(f"{itself}\nvars currentEpoch 0 lastVoteEpoch 0\n")
    options = {
        "port": port,
        "cluster-port": bus_port,
        "cluster-enabled": "yes",
        "bind": "127.0.0.1",
        "dir": folder,
        "save": "",
        "loglevel": "warning",
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen([Settings(data_dir=folder).valkey_binary, *words], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            found = Stranger(port)
            with closing(found.client):
                yield found
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    with closing(Valkey(port=port)) as client:
        while True:
            try:
                client.ping()
            except NotThere:
                assert time.monotonic() < deadline, "the stranger does not start"
                time.sleep(0.05)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
