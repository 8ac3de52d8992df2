"""The port to a machine that runs nodes. `LocalHost` implements it for the machine of this server.

Coroutines may be awaited on any event loop. The other methods block for milliseconds: call them on a worker thread, and
never inside a database transaction.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

import msgspec

from cachewright.errors import CachewrightError
from cachewright.hosts.client_firewall import ClientFirewall
from cachewright.hosts.jobs import Jobs
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.resources import Resources

CONFIG = "valkey.conf"
"""Name of the configuration file that a node's process is started with."""

SENTINEL_CONFIG = "sentinel.conf"
"""Name of the configuration file of a sentinel, which it rewrites."""

HAPROXY_CONFIG = "haproxy.cfg"
"""Name of the configuration file of the proxy of an instance."""


SERVER_VERSION = "server-version"
"""Name of the file with the version of valkey-server that the node runs. Without it, and if the host has no server of
that version, the node runs the host's default."""


LINKS = "write-log"
"""Folder, below that of a node, with links to the files of its write logs."""


DAMAGED = "damaged"
"""Folder, below that of a node, with the files that the node had before it was rebuilt."""


class NodeStartFailed(CachewrightError):
    """A process ended while it was starting. The message ends with the last lines of its log."""


class MeasuredHost(msgspec.Struct, frozen=True):
    """A machine's address for nodes, its resources, and whether its valkey-server has TLS.

    :ivar gateways: see `HostReport`, as `runs_temporary_nodes`.
    """

    address: str
    resources: Resources
    tls: bool
    gateways: tuple[str, ...] | None = None
    runs_temporary_nodes: bool = False


class ProcessInfo(msgspec.Struct, frozen=True, gc=False):
    """A running process. `started_at` is in seconds since the epoch."""

    pid: int
    started_at: float

    def seen_from_a_clock_behind(self, seconds: float) -> "ProcessInfo":
        """The process with times of a clock that is so much behind that of its host."""
        return ProcessInfo(self.pid, self.started_at - seconds)


class ChildProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A child of a node's process, which Valkey forks to write a snapshot.

    :ivar start_ticks: start time in ticks since the system started. Another process with the same pid has another one.
    :ivar title: purpose of the child, in Valkey's words: `valkey-rdb-bgsave`, ...
    """

    pid: int
    start_ticks: int
    title: str


class LogPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a node's log: identity of the file, and offset in bytes."""

    file: int
    offset: int


class LogPart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a node's log, and the position after them."""

    lines: tuple[str, ...]
    position: LogPosition


class Processes(Protocol):
    """Detached processes of one program on a machine. Each has a name, a folder with files and at most one process.
    File names are relative to that folder."""

    async def processes(self) -> Mapping[str, ProcessInfo]:
        """Return all running processes, by name."""

    async def process(self, name: str) -> ProcessInfo | None: ...

    async def is_running(self, name: str) -> bool:
        """Whether the process runs. False while a signal has suspended it."""

    async def with_file(self, file: str) -> frozenset[str]:
        """Return the names of all processes, running or not, that have a file or socket of this name."""

    async def has_file(self, name: str, file: str) -> bool: ...

    async def read_file(self, name: str, file: str) -> str | None:
        """Return the text of a file, or None if it cannot be read."""

    async def write_files(self, name: str, files: Mapping[str, str]) -> None:
        """Create the folder and write files by name, each atomically and readable by its owner only."""

    async def start(self, name: str) -> None:
        """Ensure that the process runs. Raises NodeStartFailed."""

    async def restart(self, name: str, not_before: float, grace_seconds: float) -> None:
        """Ensure that the process was started at `not_before` (seconds since the epoch) or later. Raises TimeoutError
        if the old process does not end by itself within `grace_seconds`, or NodeStartFailed."""

    async def ensure(
        self, name: str, files: Callable[[], Awaitable[Mapping[str, str] | None]], grace_seconds: float
    ) -> None:
        """Ensure that the process runs with the files that `files` returns: it is replaced if one differs. No other
        call changes the process meanwhile. No effect if `files` returns None. NodeStartFailed or TimeoutError."""

    async def stop(self, name: str, grace_seconds: float) -> None:
        """End the process, by force after `grace_seconds`, which may be 0. Raises TimeoutError."""

    async def remove(self, name: str, grace_seconds: float) -> None:
        """End the process like `stop`, and delete its folder. Raises TimeoutError."""

    async def set_aside(self, name: str, not_before: float, grace_seconds: float) -> None:
        """End the process and move its files into the folder `DAMAGED` below its own, in place of earlier ones that
        were moved before `not_before` (seconds since the epoch). A file is deleted if one of its name was moved later,
        or if it cannot be moved. The process cannot start until it has files again. Raises TimeoutError."""

    async def is_busy(self, name: str) -> bool:
        """Whether the process is being started, restarted, stopped or removed."""


class Host(Processes, Jobs, Protocol):
    """A machine with nodes, whose processes have their ids as names."""

    @property
    def address(self) -> str:
        """IP address that nodes of new instances listen on, unless they need another one."""

    @property
    def nodes_dir(self) -> Path:
        """Local folder through which the control plane reaches the Unix socket of each node, NODE_ID/valkey.sock."""

    @property
    def sentinels(self) -> Processes:
        """The sentinels, by id, on whichever host."""

    @property
    def own_sentinels(self) -> Processes:
        """Those that run on the machine of the server."""

    @property
    def sentinels_dir(self) -> Path:
        """Local folder through which the control plane reaches the Unix socket of each sentinel of this machine."""

    @property
    def proxies(self) -> Processes:
        """The proxies of instances, by the id of the instance."""

    @property
    def proxies_dir(self) -> Path:
        """Local folder through which the control plane reaches the Unix socket of each proxy."""

    @property
    def converters(self) -> Processes:
        """The temporary nodes of this machine, which divide backups by slots or replay write logs."""

    @property
    def converters_dir(self) -> Path:
        """Local folder through which the control plane reaches the Unix socket of each converter."""

    @property
    def gateways(self) -> Processes:
        """The gateways of migrations from outside on this machine, by the id of the migration and a number."""

    @property
    def gateways_dir(self) -> Path:
        """Local folder through which the control plane reaches the Unix socket of each gateway."""

    @property
    def has_haproxy(self) -> bool:
        """Whether proxies can be started."""

    @property
    def client_firewall(self) -> ClientFirewall | None:
        """The rules that filter clients of nodes on the machine of the server; None if it may load none."""

    @property
    def cpus(self) -> int:
        """Number of processors that nodes can use."""

    async def read_log(self, node_id: str, after: LogPosition | None) -> LogPart:
        """Return the complete lines that a node has logged after a position, at most 64 KB. Call it again for more.

        If the log was replaced or truncated since, start at its begin. If `after` is None, return the last lines.
        """

    async def write_folder(self, node_id: str, folder: str, files: Mapping[str, Iterable[bytes]]) -> None:
        """Write a folder below that of a node, durably and for its owner only, in place of one of its name. It is there
        with all files or not at all. Parts of the files, by name, are read on a worker thread."""

    async def create_folder(self, node_id: str, folder: str) -> None:
        """Write an empty folder below that of a node, in place of one of its name."""

    async def exchange_folder(self, node_id: str, folder: str, *, new: str, former: str, grace_seconds: float) -> None:
        """End the node's process, and rename its `folder` to `former` and `new` to `folder`. No effect if there is no
        folder `new`. Raises TimeoutError."""

    async def bring_back_folder(self, node_id: str, folder: str, *, former: str, grace_seconds: float) -> None:
        """End the node's process, and rename `former` to `folder` in place of the present one. No effect if there is no
        folder `former`. Raises TimeoutError."""

    async def delete_folders(self, node_id: str, *folders: str) -> None:
        """Delete folders below that of a node, if they exist."""

    async def link_files(self, node_id: str, files: Sequence[str], kept: Set[str], folder: str) -> Mapping[str, int]:
        """Ensure that these files of the node are also in this folder of it, as hard links, so that they stay when the
        node deletes them. Delete all others there except those with the names in `kept`. Return the size of each file
        there. Raises OSError, FileNotFoundError if one does not exist."""

    async def read_part(self, node_id: str, file: str, start: int, length: int) -> bytes:
        """Return a part of a file. Raises OSError."""

    async def children(self, node_id: str) -> Sequence[ChildProcess]:
        """Return the child processes of the node's process."""

    async def end_child(self, node_id: str, child: ChildProcess, grace_seconds: float) -> bool:
        """End a child of the node's process, with SIGKILL after `grace_seconds`. Return whether it has ended."""

    def addresses(self, usual: str) -> Iterator[str]:
        """Yield the addresses that a node can listen on: the `usual` one of its host, then others of that host for
        instances with the same port."""

    def find_ports(self, address: str, count: int, taken: Set[int], *, tls: bool) -> list[NodePorts]:
        """Return free ports of the address for `count` nodes, none of them in `taken`. Raises NoFreePort."""

    def hold_port(self, address: str, port: int) -> None:
        """Reserve the port of a node that does not listen on it, so that no other server chooses it. Does not block."""

    def release_port(self, address: str, port: int) -> None:
        """End `hold_port`. Does not block."""

    def is_port_free(self, address: str, port: int) -> bool: ...

    def resources(self) -> Resources: ...

    def own_resources(self) -> Resources:
        """Return those of this machine alone."""

    def measured(self) -> Mapping[str, MeasuredHost]:
        """Return the machines that answer, by name."""

    def server_versions(self) -> Sequence[str]:
        """Return the versions of valkey-server that nodes can run, such as `9.1.2`, the default first."""

    def supports_tls(self) -> bool:
        """Whether the machine's valkey-server was built with TLS."""
