"""Instances and nodes."""

import ipaddress
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from cachewright.model.accounts import Account, PasswordChange
from cachewright.model.hosts import EMBEDDED

Role = Literal["primary", "replica"]


NodeAccess = Literal["socket", "tcp", "password"]

DEFAULT_PRIORITY = 100
"""Priority of a new replica, as in Valkey."""

NEVER_PRIMARY = 0
"""Priority of a replica that must not take over."""

WHITELIST, WHITELIST_ENABLED = "whitelist", "enable_whitelist"
"""Attributes of an instance: groups of addresses, and whether only those may connect."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One cache. A resize changes `spec_code` when it succeeds.

    :ivar address: IP address that clients get: of the node or of the proxy that has `seed_port`. Nodes on other hosts
    have other addresses.
    :ivar seed_port: port of the address that clients get: of a node, or of the instance's proxy.
    :ivar password: password of clients; None if they need none.
    :ivar control_secret: password of the control plane's user on every node; never returned by the API.
    :ivar accounts: users of the nodes besides `default`.
    :ivar disabled_commands: commands that no client may use, besides those that are denied on every instance.
    :ivar pending_password: a change of `password` that has not succeeded yet.
    :ivar parameters: changed parameters of the nodes, by Valkey's names.
    :ivar node_ca: private key and certificate of the authority for TLS between the nodes, PEM; None without TLS. If the
    instance was created as no cluster, certificates follow by which the installation vouches for it, for sentinels.
    Never returned by the API.
    :ivar server_certificate: what clients of the instance see in addition to the certificates of nodes, PEM; None if
    they connect without TLS. Of a cluster, the certificate by which the installation vouches for `node_ca`; of other
    instances, the private key and the certificates of the proxy. Never returned by the API.
    :ivar attributes: fields that the API stores and returns unchanged (vpc_id, description, tags, ...). Those of the
    whitelist also have an effect.
    :ivar error_code: reason for the status ERROR or CREATEFAILED.
    """

    id: str
    project_id: str
    name: str
    status: str
    engine_version: str
    spec_code: str
    seed_port: int
    password: str | None
    control_secret: str
    attributes: dict[str, Any]
    user_id: str
    user_name: str
    created_at: int
    updated_at: int
    launched_at: int | None = None
    error_code: str | None = None
    parameters: dict[str, str] = {}
    node_ca: str | None = None
    accounts: tuple[Account, ...] = ()
    disabled_commands: tuple[str, ...] = ()
    pending_password: PasswordChange | None = None
    address: str = "127.0.0.1"
    server_certificate: str | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One Valkey server process. `id` is its 40-hex cluster node id; `shard` counts from 0.

    :ivar role: the role it was created for. The cluster decides which node is primary now. Where Sentinel decides, the
    record follows it.
    :ivar maxmemory: bytes.
    :ivar should_run: the supervisor restarts the node when its process has ended.
    :ivar access: how the control plane reaches the node: through its Unix socket, or, for a process that an earlier
    release started, over TCP as its own user (`tcp`) or with the clients' password (`password`).
    :ivar tls_port: port for TLS between nodes; None without TLS.
    :ivar client_tls: clients connect with TLS. The node then has TLS at `port`, also for other nodes, and does not use
    `tls_port`.
    :ivar priority: order in which replicas of a shard take over, 1 first, 100 last; 0 never.
    :ivar server_version: version of valkey-server that the node is started with, such as `9.1.2`; None for the host's
    default.
    :ivar host_name: name of the host that runs it; `host` is its IP address there.
    :ivar apart: a change of the instance's type adds the node later, or has replaced it. Until it is added, and after
    it has been replaced, it is none of the nodes that serve the instance, and `should_run` is false.
    """

    id: str
    instance_id: str
    shard: int
    role: Role
    host: str
    port: int
    bus_port: int
    maxmemory: int
    should_run: bool
    created_at: int
    access: NodeAccess = "socket"
    tls_port: int | None = None
    client_tls: bool = False
    priority: int = DEFAULT_PRIORITY
    server_version: str | None = None
    host_name: str = EMBEDDED
    apart: bool = False

    @property
    def ports(self) -> tuple[int, ...]:
        """Every TCP port that the node listens on."""
        return (self.port, self.bus_port) if self.tls_port is None else (self.port, self.bus_port, self.tls_port)

    @property
    def peer_port(self) -> int:
        """The port that other nodes of the instance replicate from and move slots to."""
        return self.tls_listener or self.port

    @property
    def tls_listener(self) -> int | None:
        """The port at which the node listens with TLS; None without TLS."""
        return self.port if self.client_tls else self.tls_port


def group_id(instance_id: str, shard: int) -> str:
    """Return the id that the API gives a shard."""
    return str(uuid.uuid5(uuid.UUID(instance_id), f"shard {shard}"))


def allowed_addresses(instance: Instance) -> tuple[str, ...] | None:
    """Return the addresses and networks from which clients may connect; None if they may from all, as also by a
    whitelist that is on and empty."""
    if not instance.attributes.get(WHITELIST_ENABLED):
        return None
    groups = instance.attributes.get(WHITELIST, [])
    listed = [ipaddress.ip_network(address, strict=False) for group in groups for address in group["ip_list"]]
    return tuple(map(str, listed)) or None


def offers_sentinels(instance: Instance, nodes: Sequence[Node]) -> bool:
    """Whether clients may ask sentinels for the primary, and connect to it without the proxy: clients that reach the
    address of the instance reach its nodes, too. Sentinels know nodes with TLS by ports that need a certificate."""
    through_proxy = instance.server_certificate is not None or allowed_addresses(instance) is not None
    return not through_proxy and instance.node_ca is None and not are_hidden(instance, nodes)


def are_hidden(instance: Instance, nodes: Sequence[Node]) -> bool:
    """Whether a node listens on loopback behind a proxy that does not. Other machines do not reach it."""
    return not _is_loopback(instance.address) and any(_is_loopback(node.host) for node in nodes)


def has_proxy(instance: Instance, nodes: Sequence[Node]) -> bool:
    """Whether clients get the address of a proxy, which no node listens on. An instance that is no cluster."""
    return all((node.host, node.port) != (instance.address, instance.seed_port) for node in nodes)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def node_elsewhere(nodes: Sequence[Node]) -> str | None:
    """Return a sentence about a node on another host than the server's; None if there is none."""
    away = next((node for node in nodes if node.host_name != EMBEDDED), None)
    return f"node {away.id} runs on host {away.host_name}, not on that of the server" if away else None
