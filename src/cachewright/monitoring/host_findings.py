"""What follows from hosts that are silent, lost or drained: faults of instances, and moves of nodes. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from cachewright.model.hosts import HostState
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import listed
from cachewright.operations.requests import MoveCause, MoveRequest, NodeMove


class WatchedHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that is silent or drained.

    :ivar silent_seconds: time for which it has not reported; None if it reports.
    """

    name: str
    state: HostState
    silent_seconds: float | None

    @property
    def is_away(self) -> bool:
        return self.silent_seconds is not None or self.state == "lost"


Faults = Mapping[tuple[str, FaultKind], str]
"""Descriptions by instance and kind."""


def faults(
    hosts: Mapping[str, WatchedHost],
    nodes: Sequence[Node],
    answering: Collection[str],
    rebuild_seconds: float,
    *,
    busy: Collection[str],
) -> Faults:
    """Return the faults of instances with nodes on hosts that are away. A silent host is no fault of a node that its
    owner has stopped: the incident `stopped_nodes` reports that node.

    :param nodes: all nodes of these instances.
    :param answering: ids of nodes that answer the server, although the agent of their host may not run.
    :param busy: ids of instances with a task that has not ended. It may have stopped nodes that serve otherwise.
    """
    away: dict[str, list[str]] = defaultdict(list)
    lost: dict[str, list[str]] = defaultdict(list)
    for (instance_id, shard), of_shard in _by_shard(nodes).items():
        missing = [node for node in of_shard if _is_away(node, hosts, answering)]
        has_copy = len(missing) < len(of_shard)
        for node in missing:
            if not _is_needed(node, hosts[node.host_name], busy):
                continue
            plan = _plan(hosts[node.host_name], node, rebuild_seconds, has_copy=has_copy)
            away[instance_id].append(f"node {node.id} of shard {shard} is on host {node.host_name}, {plan}")
        if not has_copy and all(hosts[node.host_name].state == "lost" for node in missing):
            names = ", ".join(sorted({node.host_name for node in of_shard}))
            lost[instance_id].append(f"no copy of shard {shard} is left, its host {names} was given up as lost")
    found: dict[tuple[str, FaultKind], str] = {}
    for instance_id, sentences in away.items():
        found[instance_id, "silent_host"] = listed(sentences)
    for instance_id, sentences in lost.items():
        found[instance_id, "lost_data"] = listed(sentences)
    return found


def moves(
    hosts: Mapping[str, WatchedHost], nodes: Sequence[Node], answering: Collection[str], rebuild_seconds: float
) -> Iterator[tuple[str, MoveRequest]]:
    """Yield the moves of nodes that are due, by instance; see `faults`. Nodes of a silent host are due after
    `rebuild_seconds`, those of a lost one immediately."""
    due: dict[tuple[str, MoveCause], list[NodeMove]] = defaultdict(list)
    for node in nodes:
        host = hosts.get(node.host_name)
        if host is not None and (cause := _cause(node, host, answering, rebuild_seconds)):
            due[node.instance_id, cause].append(NodeMove(node.id))
    for (instance_id, cause), of_instance in due.items():
        yield instance_id, MoveRequest(cause=cause, moves=tuple(of_instance))


def _cause(node: Node, host: WatchedHost, answering: Collection[str], rebuild_seconds: float) -> MoveCause | None:
    if host.is_away:
        if node.id in answering:
            return None
        if host.state == "lost":
            return "lost_host"
        is_due = node.should_run and (host.silent_seconds or 0.0) >= rebuild_seconds
        return "silent_host" if is_due else None
    return "drain" if host.state == "draining" else None


def _is_away(node: Node, hosts: Mapping[str, WatchedHost], answering: Collection[str]) -> bool:
    host = hosts.get(node.host_name)
    return host is not None and host.is_away and node.id not in answering


def _is_needed(node: Node, host: WatchedHost, busy: Collection[str]) -> bool:
    """Whether an instance needs a node whose host is away. It needs the data of a stopped node as well, which is lost
    with a host that was given up."""
    return node.should_run or host.state == "lost" or node.instance_id in busy


def _plan(host: WatchedHost, node: Node, rebuild_seconds: float, *, has_copy: bool) -> str:
    """Return what will happen to a node. For a node that should not run, such as in a restore that waits for its former
    data, return what its owner can do."""
    if host.state == "lost":
        return "which was given up as lost"
    if not node.should_run:
        stopped = "the node is stopped and is not replaced automatically"
        stays = f"which does not report; {stopped}: start the agent of the host"
        return f"{stays}, or give the host up (hosts remove {host.name} --lost)" if has_copy else stays
    return f"which does not report; after {rebuild_seconds:g} s it is replaced on another host"


def _by_shard(nodes: Sequence[Node]) -> Mapping[tuple[str, int], list[Node]]:
    shards: dict[tuple[str, int], list[Node]] = defaultdict(list)
    for node in nodes:
        shards[node.instance_id, node.shard].append(node)
    return shards
