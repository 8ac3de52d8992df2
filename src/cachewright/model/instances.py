"""Instances and nodes, as they are stored."""

from typing import Any, Literal

import msgspec

Role = Literal["primary", "replica"]


NodeAccess = Literal["socket", "tcp", "password"]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One cache. `spec_code` is what it has now: a resize changes it when the resize has succeeded.

    :ivar seed_port: port of the node that is named to clients first.
    :ivar password: None where the instance takes clients without one.
    :ivar control_secret: password of the control plane's own user on every node; never shown to anybody.
    :ivar parameters: settings of the server that the owner has changed, by their names in Valkey.
    :ivar node_ca: private key and certificate of the authority for TLS between the instance's nodes, PEM; None where
    they talk in clear. Never shown to anybody.
    :ivar attributes: what the caller said at creation and reads back unchanged (vpc_id, description, tags, ...).
    :ivar error_code: why the status is ERROR or CREATEFAILED.
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


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One Valkey server process. `id` is its 40-hex cluster node id; `shard` counts from 0.

    :ivar role: the role it was created for. The cluster decides which node is primary now.
    :ivar maxmemory: bytes.
    :ivar should_run: the supervisor restarts the node when its process has ended.
    :ivar access: how the control plane reaches it: through its socket, or, while a process runs that an earlier release
    started, over TCP as its own user (`tcp`) or still with the clients' password (`password`).
    :ivar tls_port: port for TLS between nodes; None where the nodes of the instance talk in clear.
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

    @property
    def ports(self) -> tuple[int, ...]:
        """Every TCP port that the node listens on."""
        return (self.port, self.bus_port) if self.tls_port is None else (self.port, self.bus_port, self.tls_port)

    @property
    def peer_port(self) -> int:
        """The port that other nodes of the instance replicate from and move slots to."""
        return self.tls_port or self.port
