"""Sentinel: its configuration file, and the commands by which the control plane uses it.

A sentinel listens for the control plane on a Unix socket in its folder, as a node does; one on another host is reached
over TCP. Those that watch nodes with TLS use mutual TLS for every connection over TCP. A sentinel rewrites its file
with the instances that it watches and what it knows of them.

Functions raise one of NODE_GONE if the sentinel does not answer and NodeRefused if it refuses.

Sources: https://valkey.io/topics/sentinel, and SENTINEL HELP and SENTINEL DEBUG of Valkey 9.1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.model.sentinels import QUORUM, Sentinel
from cachewright.valkey.access import SOCKET, Address, RequireClaim, no_claim_needed, secured, socket_address
from cachewright.valkey.acl import (
    CONTROL_USER,
    SENTINEL_USER,
    control_rules,
    derived_password,
    peer_rules,
    sentinel_client_rules,
)
from cachewright.valkey.certificates import CA_FILE, CLIENT_FILE, NODE_FILE, trusted
from cachewright.valkey.single_request import Command, Unreadable, request_at

DOWN_AFTER_MS = 5000
"""Time without an answer after which a sentinel considers a node down. The supervisor starts a node that has died in
less time, with all acknowledged writes."""

_FAILOVER_MS = 15000
_ANSWER_SECONDS = 2.0
_PERIODS: Mapping[str, int] = {"publish-period": 500, "info-period": 1000}
"""Periods in milliseconds in which sentinels find each other and learn the roles of nodes. They are shorter than by
default (2 and 10 s), and are set after each start, because they are not stored."""

_UNREACHED = frozenset({"s_down", "o_down", "disconnected"})
_NO_SUCH_PRIMARY = "No such"


class SentinelAccess(msgspec.Struct, frozen=True):
    """How the control plane reaches sentinels.

    :ivar sentinels_dir: folder that contains the folder of each sentinel of this machine; see `Host.sentinels_dir`.
    :ivar require_claim: called before each command to a sentinel of another machine; see `Access`.
    """

    sentinels_dir: Path
    require_claim: RequireClaim = no_claim_needed


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as one sentinel watches it.

    :ivar name: id of the instance.
    :ivar port: port of the primary (`Node.peer_port`).
    :ivar epoch: of the configuration; the highest is the newest.
    :ivar sentinels: number of other sentinels that it knows, :ivar replicas: number of replicas that it knows.
    """

    name: str
    port: int
    flags: frozenset[str]
    epoch: int
    sentinels: int
    replicas: int

    def is_outdated(self, nodes: Iterable[Node]) -> bool:
        """Whether the primary is none of the nodes: the sentinel was away when they changed, and may reach none."""
        return all(node.peer_port != self.port for node in nodes)

    @property
    def is_moving(self) -> bool:
        """Whether the sentinel performs a failover."""
        return "failover_in_progress" in self.flags

    @property
    def is_reached(self) -> bool:
        """Whether the sentinel reaches the primary."""
        return not self.flags & _UNREACHED


def sentinel_conf(sentinel: Sentinel) -> str:
    """Return the sentinel's configuration file without instances."""
    return "".join(f"{line}\n" for line in (*_fixed_lines(sentinel), *_user_lines(sentinel)))


def is_intact(text: str | None, sentinel: Sentinel) -> bool:
    """Whether a configuration file, which the sentinel may have rewritten, is complete enough for a start: a sentinel
    without these lines would listen on another port, or for everybody."""
    lines = set((text or "").replace('"', "").splitlines())
    users = {" ".join(line.split(" ")[:4]) for line in lines if line.startswith("user ")}
    return lines >= set(_fixed_lines(sentinel)) and users >= {
        " ".join(line.split(" ")[:4]) for line in _user_lines(sentinel) if " on " in line
    }


def _fixed_lines(sentinel: Sentinel) -> tuple[str, ...]:
    return (
        f"bind {sentinel.host}",
        *_listeners(sentinel),
        f"sentinel announce-ip {sentinel.host}",  # a connection to a node on loopback has another source
        f"unixsocket {SOCKET}",
        "daemonize yes",
        "pidfile valkey.pid",
        "logfile valkey.log",
        "loglevel warning",  # without each save of the file
        "set-proc-title no",
        f"sentinel myid {sentinel.id}",
        f"sentinel sentinel-user {SENTINEL_USER}",
        f"sentinel sentinel-pass {_peer_password(sentinel)}",
    )


def _listeners(sentinel: Sentinel) -> tuple[str, ...]:
    """Return the lines about its port, and those by which every connection over TCP has TLS (`tls-replication`)."""
    if not sentinel.has_tls:
        return (f"port {sentinel.port}",)
    return (
        "port 0",
        f"tls-port {sentinel.port}",
        "tls-replication yes",
        f"tls-cert-file {NODE_FILE}",
        f"tls-key-file {NODE_FILE}",
        f"tls-client-cert-file {CLIENT_FILE}",
        f"tls-client-key-file {CLIENT_FILE}",
        f"tls-ca-cert-file {CA_FILE}",
    )


def _user_lines(sentinel: Sentinel) -> tuple[str, ...]:
    return (
        "user default off",
        " ".join(("user", CONTROL_USER, *control_rules(sentinel.secret))),
        " ".join(("user", SENTINEL_USER, *peer_rules(_peer_password(sentinel)))),
    )


def _peer_password(sentinel: Sentinel) -> str:
    return derived_password(sentinel.secret, SENTINEL_USER)


@contextmanager
def _address(sentinel: Sentinel, access: SentinelAccess) -> Iterator[Address]:
    """Yield the address of a sentinel, which is valid inside the `with` block."""
    if sentinel.host_name == EMBEDDED:
        with socket_address(access.sentinels_dir / sentinel.id, sentinel.secret) as place:
            yield place
    else:
        own = Address(
            None, sentinel.host, sentinel.port, CONTROL_USER, sentinel.secret, require_claim=access.require_claim
        )
        authority = sentinel.authority
        yield own if authority is None else secured(own, authority, sentinel.id, _issuer(authority))


@lru_cache(maxsize=1)
def _issuer(authority: str) -> str:
    """Return the certificate of the authority of all sentinels, PEM. It is parsed once, because each sentinel gets
    requests every second."""
    return trusted(authority)


async def request(sentinel: Sentinel, access: SentinelAccess, commands: Sequence[Command]) -> list[Any]:
    """Send commands to a sentinel and return the reply to each."""
    with _address(sentinel, access) as place:
        return await request_at(place, sentinel.id, commands, _ANSWER_SECONDS)


async def watched(sentinel: Sentinel, access: SentinelAccess) -> dict[str, Watched]:
    """Return all instances that a sentinel watches, by id."""
    (reply,) = await request(sentinel, access, [("SENTINEL", "PRIMARIES")])
    found = [parse_watched(row) for row in reply]
    return {instance.name: instance for instance in found}


def parse_watched(row: Sequence[str]) -> Watched:
    """Parse one row of SENTINEL PRIMARIES. Raises Unreadable."""
    said = dict(zip(row[::2], row[1::2], strict=False))
    try:
        return Watched(
            name=said["name"],
            port=int(said["port"]),
            flags=frozenset(said["flags"].split(",")),
            epoch=int(said["config-epoch"]),
            sentinels=int(said["num-other-sentinels"]),
            replicas=int(said["num-slaves"]),
        )
    except (KeyError, ValueError) as error:
        raise Unreadable(f"no primary of a sentinel: {error!r}"[:200]) from error


def setup_commands(sentinel: Sentinel) -> list[Command]:
    """Return the commands after each start of a sentinel. Those of earlier releases did not announce their address."""
    return [
        ("SENTINEL", "DEBUG", *(str(word) for period in _PERIODS.items() for word in period)),
        ("SENTINEL", "CONFIG", "SET", "announce-ip", sentinel.host),
    ]


async def client_passwords(sentinel: Sentinel, access: SentinelAccess) -> dict[str, str]:
    """Return the hash of the password of each user of the sentinel, or `nopass`, by name."""
    (reply,) = await request(sentinel, access, [("ACL", "LIST")])
    users = [str(line).split(" ") for line in reply]
    return {words[1]: next((word for word in words if word.startswith("#") or word == "nopass"), "") for words in users}


def client_user_command(instance_id: str, password: str | None) -> Command:
    """Return the command by which a sentinel accepts the clients of an instance: their user is the id of the
    instance, with the password of the instance."""
    return ("ACL", "SETUSER", instance_id, "reset", *sentinel_client_rules(password))


def client_password(password: str | None) -> str:
    """Return what `client_passwords` returns for clients with this password."""
    return sentinel_client_rules(password)[1]


def watch_commands(instance_id: str, primary: Node, secret: str) -> list[Command]:
    """Return the commands that make a sentinel watch an instance. A sentinel that is killed between the two lacks the
    settings after its next start.

    :param secret: password of the control plane on the nodes.
    """
    return [
        ("SENTINEL", "MONITOR", instance_id, primary.host, str(primary.peer_port), str(QUORUM)),
        settings_command(instance_id, secret),
    ]


def settings_command(instance_id: str, secret: str) -> Command:
    """Return the command that gives a sentinel its user on the nodes of an instance, and its limits of time. For
    `secret` see `watch_commands`."""
    settings = {
        "auth-user": SENTINEL_USER,
        "auth-pass": derived_password(secret, SENTINEL_USER),
        "down-after-milliseconds": DOWN_AFTER_MS,
        "failover-timeout": _FAILOVER_MS,
        "parallel-syncs": 1,
    }
    return ("SENTINEL", "SET", instance_id, *(str(word) for setting in settings.items() for word in setting))


def forget_commands(instance_id: str) -> list[Command]:
    """Return the commands that make a sentinel stop watching an instance."""
    return [("ACL", "DELUSER", instance_id), unwatch_command(instance_id)]


def unwatch_command(instance_id: str) -> Command:
    """Return the command that makes a sentinel stop watching an instance and keeps its clients."""
    return ("SENTINEL", "REMOVE", instance_id)


def reset_command(instance_id: str) -> Command:
    """Return the command with which a sentinel forgets the replicas and sentinels of an instance, and finds those that
    exist within a second."""
    return ("SENTINEL", "RESET", instance_id)


def failover_command(instance_id: str) -> Command:
    """Return the command for a failover to a replica that first gets all acknowledged writes."""
    return ("SENTINEL", "FAILOVER", instance_id, "COORDINATED")


def is_unknown(refusal: str) -> bool:
    """Whether a refusal means that the sentinel does not watch the instance."""
    return _NO_SUCH_PRIMARY in refusal


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Combined state of an instance as the sentinels report it. Pure.

    :ivar answered: number of sentinels that answer.
    :ivar port: port of the primary (`Node.peer_port`); None if no sentinel that answers watches the instance.
    :ivar is_moving: whether a sentinel performs a failover.
    :ivar is_reached: whether so many sentinels reach the primary that the others cannot begin a failover.
    """

    answered: int
    port: int | None
    is_moving: bool
    is_reached: bool

    @property
    def is_known(self) -> bool:
        """Whether enough sentinels answer to know the result of every failover: two of them elect who performs it."""
        return self.answered >= QUORUM


def agreement(answers: Iterable[Watched | None]) -> Agreement:
    """Combine the answers of the sentinels that answer; None of one that does not watch the instance."""
    every = list(answers)
    views = [view for view in every if view]
    newest = max(views, key=lambda view: view.epoch, default=None)
    port = newest.port if newest else None
    reaching = sum(view.is_reached and view.port == port for view in views)
    return Agreement(
        answered=len(every),
        port=port,
        is_moving=any(view.is_moving for view in views),
        is_reached=reaching >= QUORUM,
    )
