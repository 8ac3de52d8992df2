"""Shapes of the hosts."""

from collections.abc import Sequence

import msgspec

from cachewright.model.hosts import HostState
from cachewright.services.hosts import HostDetails


class HostedNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the project.

    :ivar tls: whether its traffic with other nodes, and with the server on another host, is encrypted.
    """

    node_id: str
    instance_id: str
    shard: int
    role: str
    address: str
    tls: bool


class ShownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host. Memory is in bytes, with overhead.

    :ivar state: a cordoned host takes no new nodes, nodes of a draining one move to others, a lost one does not come
        back.
    :ivar reporting: whether its agent reports.
    :ivar memory: memory that may be allocated to nodes; null if the host does not report.
    :ivar allocated: memory that is allocated to nodes of all projects.
    :ivar node_count: number of nodes of all projects.
    :ivar moving_count: number of those that tasks move to other hosts.
    :ivar unreached_count: number of those that run, as the host reports, and do not answer this server.
    :ivar traffic: whether traffic with the server and with other hosts is encrypted; null with one host, and before the
        first report.
    :ivar nodes: nodes of this project.
    """

    name: str
    address: str
    zone: str
    state: HostState
    reporting: bool
    release: str | None
    cpus: int | None
    memory: int | None
    allocated: int
    node_count: int
    moving_count: int
    unreached_count: int
    traffic: str | None
    nodes: list[HostedNode]


class HostList(msgspec.Struct, frozen=True):
    hosts: list[ShownHost]


def host_list(found: Sequence[HostDetails]) -> HostList:
    return HostList([_shown(details) for details in found])


def _shown(details: HostDetails) -> ShownHost:
    record, report = details.record, details.record.report
    return ShownHost(
        name=record.name,
        address=record.address,
        zone=record.zone,
        state=record.state,
        reporting=details.memory is not None,
        release=report.release if report else None,
        cpus=report.cpus if report else None,
        memory=details.memory,
        allocated=details.allocated,
        node_count=details.nodes,
        moving_count=details.moving,
        unreached_count=details.unreached,
        traffic=details.traffic.shown if details.traffic else None,
        nodes=[
            HostedNode(
                node_id=node.id,
                instance_id=node.instance_id,
                shard=node.shard,
                role=node.role,
                address=f"{node.host}:{node.port}",
                tls=node.tls_port is not None,
            )
            for node in details.own_nodes
        ],
    )
