"""Client activity of a node."""

import time
from collections.abc import Mapping

import msgspec

from cachewright.valkey.acl import INTERNAL_USERS
from cachewright.valkey.client import CONTROL_PLANE, Valkey, ask

_OWN_COMMANDS = frozenset(
    ("cluster", "info", "ping", "config", "eval", "eval_ro", "client", "hello", "auth", "replconf", "psync", "dbsize",
     "migrate", "memory", "multi", "exec", "dump", "acl", "command", "slowlog")
)  # fmt: skip
"""Commands that the control plane sends, too. Clients that send nothing else are counted by their connections."""

_NEED_KNOWN_NODES = ("valkey-py", "redis-py")
"""Prefixes of the names of libraries that fail if ASK sends them to a node that they have not heard of. They learn of a
node from CLUSTER SLOTS or from MOVED."""

_FAIL_AT_ASK = ("Glide",)
"""Prefixes of the names of libraries that, under load, sometimes return the redirection (ASK) to their caller."""

_MOST_LISTED = 200
"""A node with more connections than this has clients. Listing them would cost the node time."""


class ClientActivity(msgspec.Struct, frozen=True, kw_only=True):
    """Client activity at the time `at`, in seconds of the monotonic clock. All counters may restart: by CONFIG
    RESETSTAT, or by a restart of the node.

    :ivar connected: connections of clients, excluding the control plane, replicas and migrations.
    :ivar calls: calls by name of the command, without commands of the control plane.
    :ivar sent: commands of each connected client, by the id of its connection.
    :ivar needs_known_nodes: whether the library of a client fails if a node sends it (ASK) to a node that it has not
        heard of. True if there are too many clients to look at.
    :ivar fails_at_ask: whether the library of a client may fail at any such redirection. True as well then.
    """

    at: float
    connected: int
    calls: Mapping[str, int] = {}
    sent: Mapping[str, int] = {}
    needs_known_nodes: bool = False
    fails_at_ask: bool = False

    def calls_since(self, previous: "ClientActivity") -> int:
        """Return the number of commands of clients since the previous measurement."""
        return max(growth(previous.calls, self.calls), growth(previous.sent, self.sent))


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Return by how much counters have grown in total. A counter that is smaller than before has restarted at zero; a
    new one has started at zero."""
    return sum(grown(before.get(name, 0), count) for name, count in after.items())


def grown(before: int, after: int) -> int:
    """Return by how much a counter has grown. If it is smaller than before, it has restarted at zero."""
    return after - before if after >= before else after


async def client_activity(client: Valkey) -> ClientActivity:
    connected = int((await client.info("clients"))["connected_clients"])
    sent: dict[str, int] = {}
    libraries: set[str] | None = None
    if connected <= _MOST_LISTED:
        listed = await ask(client, "CLIENT LIST", "TYPE", "normal")
        clients = [other for other in listed if not (_is_own(other) or _migrates(other) or _is_silent(other))]
        connected = len(clients)
        sent = {other["id"]: int(other.get("tot-cmds", 0)) for other in clients}
        libraries = {other.get("lib-name", "") for other in clients}
    commands = await client.info("commandstats")
    calls = {name: stats["calls"] for name, stats in commands.items() if _command(name) not in _OWN_COMMANDS}
    return ClientActivity(
        at=time.monotonic(),
        connected=connected,
        calls=calls,
        sent=sent,
        needs_known_nodes=_has(libraries, _NEED_KNOWN_NODES),
        fails_at_ask=_has(libraries, _FAIL_AT_ASK),
    )


def _has(libraries: set[str] | None, prefixes: tuple[str, ...]) -> bool:
    """Whether a library has one of the prefixes. True if the libraries are not known."""
    return libraries is None or any(library.startswith(prefixes) for library in libraries)


def _is_own(connection: Mapping[str, str]) -> bool:
    """Whether the control plane uses the connection. It gets its name by its second request."""
    return connection.get("user") in INTERNAL_USERS or connection["name"] == CONTROL_PLANE


def _is_silent(connection: Mapping[str, str]) -> bool:
    """Whether a connection has sent no command yet. One of the control plane has no user before its first one."""
    return connection["cmd"] == "NULL"


def _migrates(connection: Mapping[str, str]) -> bool:
    """Whether MIGRATE of another node uses the connection."""
    return connection["cmd"] == "restore-asking"


def _command(name: str) -> str:
    """Return the command of a line of `INFO commandstats`: `cmdstat_client|list` is about `client`."""
    return name.removeprefix("cmdstat_").partition("|")[0]
