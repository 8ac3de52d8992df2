"""Machines that run nodes."""

from typing import Literal

import msgspec

EMBEDDED = "local"
"""Name of the host on which the server runs."""

HostState = Literal["active", "cordoned", "draining", "lost"]
"""A cordoned host keeps its nodes and gets no new ones. Nodes of a draining one move to other hosts. A lost one does
not come back: its nodes are made again elsewhere."""


class StaleNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was removed from its instance while its host did not report. The agent deletes what is left of it.

    :ivar removed_at: epoch milliseconds.
    """

    id: str
    host_name: str
    removed_at: int


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has, as measured there. Memory and disk are in bytes.

    :ivar release: release of Cachewright that measured it.
    :ivar server_versions: versions of valkey-server that it can run, the default first.
    :ivar tls: whether its valkey-server was built with TLS.
    :ivar haproxy: whether it can run proxies.
    :ivar processes: pid and start time, in seconds since the epoch, of each running node, by its id. Only agents report
        them, as what follows.
    :ivar sentinels: the same of each running sentinel.
    :ivar runs_sentinels: whether its agent may read where sentinels run, which it needs to run some.
    :ivar gateways: ids of the migrations from outside that have gateways there; None if its agent runs none, as those
        of earlier releases.
    :ivar runs_temporary_nodes: whether its agent divides backups, replays write logs and imports files; that of an
        earlier release does not.
    :ivar configured: ids of the nodes that have a configuration.
    :ivar linked: ids of the nodes that have links to files of write logs.
    :ivar public_key: key for calls to the agent.
    :ivar has_own_role: whether the agent uses the role of its host in the database, not one that agents share.
    :ivar clock_offset: seconds by which the clock of the database is ahead of the host's.
    """

    release: str
    cpus: int
    memory: int
    memory_free: int
    disk_free: int
    server_versions: tuple[str, ...] = ()
    tls: bool = False
    haproxy: bool = False
    processes: dict[str, tuple[int, float]] = {}
    sentinels: dict[str, tuple[int, float]] = {}
    runs_sentinels: bool = False
    gateways: tuple[str, ...] | None = None
    runs_temporary_nodes: bool = False
    configured: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    public_key: str | None = None
    has_own_role: bool = False
    clock_offset: float = 0.0


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that runs nodes.

    :ivar address: IP address that nodes of new instances listen on.
    :ivar zone: availability zone, a label that the operator chooses.
    :ivar seen_at: time of its latest report, epoch milliseconds; None before the first.
    """

    name: str
    address: str
    zone: str
    state: HostState
    created_at: int
    seen_at: int | None = None
    report: HostReport | None = None
