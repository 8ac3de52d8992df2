"""A gateway: a plain valkey-server on this machine that replicates one primary of a source.

It has no TCP port: only the control plane reaches it, through the Unix socket in its folder. It loads data of another
owner, so it checks all of it and has no modules. It keeps nothing on disk: after a restart it
replicates again.

Sources: valkey.conf, REPLICAOF and INFO replication of Valkey 9.1.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from cachewright.valkey.access import SOCKET, socket_address
from cachewright.valkey.acl import CONTROL_USER, control_rules
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import Unreadable, fields, request_at
from cachewright.valkey.sources.shape import keys_by_database

_ANSWER_SECONDS = 7.0
_BACKLOG = 1024 * 1024
_MOST_UNREAD = 64 * 1024 * 1024
"""Bytes of messages that wait for the server. Beyond it the connection is closed, and all keys are copied again."""

_DATABASES = 256
_MOST_CHARACTERS = 300
_LOG_LINES, _LOG_BYTES = 20, 64 * 1024
LOG = "valkey.log"
"""Name of the log in the folder of a gateway."""

_REFUSED = ("Unable to AUTH", "Unexpected reply to PSYNC", "aborted replication")
_UNREADABLE = "RDB format version"
_NOT_LOADED = (
    "Wrong signature",
    _UNREADABLE,
    "Internal error in RDB",
    "RDB CRC error",
    "Wrong RDB checksum",
    "contains module data",
    "module type",
    "Short read",
    "more than",
)
"""Words of a server that cannot load a file. The first of these lines names the reason."""
_ENDED_BY_FILE = "Terminating server after rdb file reading failure"
_NOT_STORED = "Write error or short write writing to the DB dump file"
_NO_MEMORY = "Out Of Memory allocating"
_PARTIAL = "temp-*.rdb"
"""Names of the file in which a gateway stores a snapshot while it arrives."""

_SECTIONS = ("server", "replication", "persistence", "memory", "keyspace", "commandstats")
_OF_CONTROL_PLANE = frozenset(
    {"auth", "client", "command", "config", "exists", "hello", "info", "memory", "migrate", "replicaof", "scan"}
)
_OF_REPLICATION = frozenset(
    {"exec", "multi", "ping", "psync", "publish", "replconf", "script", "select", "spublish", "sync"}
)
"""Commands of a source to its replicas that change no data."""

_READ_FUNCTIONS = frozenset({"function|dump", "function|list"})
_REMOVALS = frozenset({"del", "hdel", "unlink"})
"""Commands by which a source tells its replicas that keys or fields have expired, or were evicted."""


class Gateway(msgspec.Struct, frozen=True):
    """:ivar secret: password of the control plane.
    :ivar folder: of the process, with its socket.
    """

    name: str
    secret: str
    folder: Path


class Followed(msgspec.Struct, frozen=True):
    """Where a gateway finds its primary, without TLS: at its own address, or behind a relay."""

    host: str
    port: int
    user: str | None
    password: str | None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar source: address of the primary, or of the relay, that it follows; None if it follows none.
    :ivar is_linked: whether it is connected to the primary and has its data.
    :ivar received: bytes of the snapshot that it receives now, :ivar to_receive: all of them, 0 if that is not known.
    :ivar loaded: bytes of the snapshot that it has loaded, :ivar to_load: all of them.
    :ivar offset: position in the stream of writes up to which it has applied them.
    :ivar used_memory: bytes.
    :ivar keys: by database.
    :ivar swaps: number of exchanges of databases (SWAPDB), which change keys without a message about each.
    :ivar run: identity of the process, :ivar is_loading: whether it still loads the file that it has found at its
        start.
    :ivar writes: number of commands of the source that have changed data since the process began, without removals.
    :ivar removals: number of its commands that may be expiries: DEL, HDEL, UNLINK.
    """

    source: str | None
    is_linked: bool
    received: int
    to_receive: int
    loaded: int
    to_load: int
    offset: int
    used_memory: int
    keys: Mapping[int, int]
    swaps: int
    run: str
    is_loading: bool
    writes: int
    removals: int


def gateway_conf(gateway: Gateway) -> str:
    """Return the configuration file of a gateway. The password of the source is never written to a file."""
    settings: list[tuple[str, object]] = [
        ("port", 0),
        ("unixsocket", SOCKET),
        ("unixsocketperm", "700"),
        ("daemonize", "yes"),
        ("pidfile", "valkey.pid"),
        ("logfile", LOG),
        ("loglevel", "notice"),  # it says why a source refuses the replication
        ("set-proc-title", "no"),  # the command line keeps the folder, which identifies the process
        ("databases", _DATABASES),
        ("save", '""'),
        ("appendonly", "no"),
        ("replica-read-only", "no"),  # MIGRATE counts as a write, even with COPY
        ("replica-serve-stale-data", "no"),  # keys are copied from complete data only
        ("repl-diskless-load", "disabled"),
        ("repl-backlog-size", _BACKLOG),  # no replica follows a gateway
        ("client-output-buffer-limit", f"normal {_MOST_UNREAD} 0 0"),
        ("sanitize-dump-payload", "yes"),
        ("enable-module-command", "no"),
        ("enable-debug-command", "no"),
        # If the host lacks memory, the kernel ends a gateway before any node: it may have to unpack a huge value.
        # valkey-server applies this when it has loaded its file, so imports also set it from outside.
        ("oom-score-adj", "absolute"),
        ("oom-score-adj-values", "1000 1000 1000"),
        ("user", "default off"),
        ("user", " ".join((CONTROL_USER, *control_rules(gateway.secret)))),
    ]
    return "".join(f"{name} {value}\n" for name, value in settings)


async def state(gateway: Gateway) -> GatewayState | None:
    """Return the state of a gateway, None if it does not answer."""
    with suppress(*NODE_GONE, NodeRefused):
        with socket_address(gateway.folder, gateway.secret) as place:
            replies = await request_at(place, gateway.name, [("INFO", *_SECTIONS)], _ANSWER_SECONDS)
        return parse_state(fields(replies[0]))
    return None


def parse_state(said: Mapping[str, str]) -> GatewayState:
    """Return the state that the fields of INFO stand for. Raises Unreadable."""
    is_replica = said.get("role") == "slave"
    total = _number(said, "master_sync_total_bytes")
    try:
        calls = _calls(said)
        return GatewayState(
            source=f"{said.get('master_host')}:{said.get('master_port')}" if is_replica else None,
            is_linked=is_replica and said.get("master_link_status") == "up",
            received=_number(said, "master_sync_read_bytes"),
            to_receive=max(total, 0),
            loaded=_number(said, "loading_loaded_bytes"),
            to_load=_number(said, "loading_total_bytes"),
            offset=_number(said, "slave_repl_offset" if is_replica else "master_repl_offset"),
            used_memory=_number(said, "used_memory"),
            keys=keys_by_database(said),
            swaps=calls.get("swapdb", 0),
            run=said.get("run_id", ""),
            is_loading=said.get("loading") == "1",
            writes=sum(count for name, count in calls.items() if _is_write(name)),
            removals=sum(calls.get(name, 0) for name in _REMOVALS),
        )
    except ValueError as error:
        raise Unreadable(f"the state is unreadable: {error!r}"[:200]) from error


async def follow(gateway: Gateway, followed: Followed) -> None:
    """Make a gateway replicate a primary. Raises one of NODE_GONE or NodeRefused."""
    settings = {"primaryuser": followed.user or "", "primaryauth": followed.password or ""}
    with socket_address(gateway.folder, gateway.secret) as place:
        await request_at(
            place,
            gateway.name,
            [
                ("CONFIG", "SET", *(word for setting in settings.items() for word in setting)),
                ("REPLICAOF", followed.host, str(followed.port)),
            ],
            _ANSWER_SECONDS,
        )


async def detach(gateway: Gateway) -> None:
    """End the replication. The gateway keeps the keys that it has. Raises one of NODE_GONE or NodeRefused."""
    with socket_address(gateway.folder, gateway.secret) as place:
        await request_at(place, gateway.name, [("REPLICAOF", "NO", "ONE")], _ANSWER_SECONDS)


async def session(gateway: Gateway, answer_seconds: float) -> Session:
    """Open a connection for keys, which are bytes. Raises one of NODE_GONE or NodeRefused."""
    with socket_address(gateway.folder, gateway.secret) as place:
        return await Session.at(place, gateway.name, answer_seconds, encoding=None)


def read_log(gateway: Gateway) -> str:
    """Return the end of the log of a gateway. It names keys, which need not be text. Blocks."""
    try:
        with (gateway.folder / LOG).open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _LOG_BYTES, 0))
            return file.read(_LOG_BYTES).decode(errors="replace")
    except OSError:
        return ""


def complaint(log: str) -> str | None:
    """Return why a source refuses the replication, in its own words, from the end of the log of a gateway. Pure."""
    for line in reversed(log.splitlines()[-_LOG_LINES:]):
        if any(words in line for words in _REFUSED) or _UNREADABLE in line:
            return line.partition(" # ")[2] or line
    return None


def load_failure(log: str) -> str | None:
    """Return why a gateway could not load its file, from the end of its log. Pure."""
    for line in log.splitlines()[-_LOG_LINES:]:
        if any(words in line for words in _NOT_LOADED):
            return (line.partition(" # ")[2] or line)[:_MOST_CHARACTERS]
    return None


def unloadable(log: str) -> str | None:
    """Return why a gateway has ended because it could not load a snapshot of its source, from the end of its log; None
    if it has not. Pure."""
    return load_failure(log) if any(_ENDED_BY_FILE in line for line in log.splitlines()[-_LOG_LINES:]) else None


def could_not_store(log: str) -> bool:
    """Whether a gateway could not write a snapshot of its source to the disk, from the end of its log. Pure."""
    return _NOT_STORED in log


def is_out_of_memory(log: str) -> bool:
    """Whether a gateway has ended because it got no more memory, from the end of its log, where a long report of the
    crash may follow. Pure."""
    return _NO_MEMORY in log


def left_bytes(gateway: Gateway) -> int:
    """Return the bytes of the largest part of a snapshot that a gateway has received and not loaded. Blocks."""
    sizes = [0]
    for file in gateway.folder.glob(_PARTIAL):
        with suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return max(sizes)


def is_final(words: str) -> bool:
    """Whether a complaint stays until the source is changed. Pure."""
    return any(part in words for part in ("NOPERM", "unknown command", _UNREADABLE))


def _calls(said: Mapping[str, str]) -> dict[str, int]:
    """Return how often each command was called, by its name. Raises ValueError."""
    return {
        name.removeprefix("cmdstat_"): int(value.partition("calls=")[2].partition(",")[0])
        for name, value in said.items()
        if name.startswith("cmdstat_")
    }


def _is_write(name: str) -> bool:
    """Whether a command of this name, `COMMAND` or `COMMAND|SUBCOMMAND`, changes data and is no removal."""
    command = name.partition("|")[0]
    return command not in _OF_CONTROL_PLANE | _OF_REPLICATION and name not in _READ_FUNCTIONS | _REMOVALS


def _number(said: Mapping[str, str], name: str) -> int:
    value = said.get(name, "0")
    return int(value) if value.lstrip("-").isdecimal() else 0
