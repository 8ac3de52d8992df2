"""Which nodes leave their hosts, and what replaces them. Pure."""

from collections.abc import Callable, Mapping, Sequence, Set

import msgspec

from cachewright import errors
from cachewright.model.instances import Node
from cachewright.operations.context import best_view
from cachewright.operations.requests import MoveCause
from cachewright.operations.resize.replica_plan import by_shard
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.topology import Member, View, primaries

NewReplicas = Callable[[Mapping[int, range]], Sequence[Node]]
"""Returns new nodes with these numbers, by shard."""


class MovePlan(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar leaving: nodes to remove; those of one shard in their order, its primary last.
    :ivar added: new replicas.
    :ivar replacements: nodes that leave, each with the new node that has its place.
    :ivar successors: id of the node that has the place of each node that leaves: its replacement, or another node where
        the shard has more copies than it needs.
    :ivar staying: nodes that stay.
    :ivar sources: present primary of each shard of `leaving`, or another copy where it has none: their data is copied.
    :ivar leaderless: the lost primary of each shard that has no other one yet.
    :ivar silent: ids of nodes that do not answer, and of which no answer is expected.
    """

    leaving: Sequence[Node]
    added: Sequence[Node]
    replacements: Sequence[tuple[Node, Node]]
    successors: Mapping[str, str]
    staying: Sequence[Node]
    sources: Mapping[int, Node]
    leaderless: Sequence[Node]
    silent: tuple[str, ...]


def decide(
    *,
    nodes: Sequence[Node],
    views: Mapping[str, View | None],
    moved: Set[str],
    cause: MoveCause,
    copies: int,
    new: NewReplicas,
    is_cluster: bool = True,
) -> MovePlan:
    """Return the plan. ActionFailed if a node that shall move does not answer, or if no lost node can be replaced.

    :param nodes: of the instance, without new ones of this run.
    :param moved: ids of nodes that shall leave. Those that are not recorded any more have left.
    :param copies: number of copies that each shard should have.
    """
    view = best_view(views)
    is_lost = cause in ("silent_host", "lost_host")
    asked = [node for node in nodes if node.id in moved]
    leads = {
        shard: lead
        for shard, lead in primaries(nodes, view).items()
        if views.get(lead.id) is not None and view.members[lead.id].slots
    }
    owners = {node.shard: node for node in nodes if node.id in view.members and view.members[node.id].slots}
    # The operator gave up the hosts of `asked` alone. A primary that is silent elsewhere may serve clients.
    lost_owners = {
        shard: owner
        for shard, owner in owners.items()
        if cause == "lost_host" and owner in asked and shard not in leads
    }
    if is_lost:
        shards = leads.keys() | lost_owners.keys()
        judged = {shard: view if is_cluster else views.get(lead.id) for shard, lead in leads.items()}
        leaving = [
            node
            for node in asked
            if node.shard in shards
            and views.get(node.id) is None
            and _copies(node, nodes, views)
            and (cause == "lost_host" or _has_failed(node, judged.get(node.shard), is_cluster=is_cluster))
        ]
        if asked and not leaving:
            # Nodes may agree soon that a node has failed, or a primary may answer again.
            answers = any(views.get(node.id) for node in asked)
            is_final = answers or (cause == "lost_host" and not _copies(asked[0], nodes, views))
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, _why_not(asked[0], nodes, views, cause), is_final)
    else:
        leaving = asked
        for node in leaving:
            if views.get(node.id) is None:
                raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not answer")
    leaving = sorted(leaving, key=lambda node: (node.shard, leads.get(node.shard) is node, node.id))
    gone = {node.id for node in leaving}
    staying = [node for node in nodes if node.id not in gone]
    added, successors, replacements = _replaced(leaving, staying, copies, new)
    return MovePlan(
        leaving=leaving,
        added=added,
        replacements=replacements,
        successors=successors,
        staying=staying,
        sources={node.shard: leads.get(node.shard) or _copies(node, nodes, views)[0] for node in leaving},
        leaderless=[lost_owners[shard] for shard in sorted({node.shard for node in leaving} & lost_owners.keys())],
        silent=tuple(node.id for node in nodes if is_lost and views.get(node.id) is None),
    )


def surplus_additions(
    nodes: Sequence[Node], members: Mapping[str, Member], copies: int, is_added: Callable[[Node], bool]
) -> list[Node]:
    """Return the added nodes that a move which failed leaves without a use: those without slots, as long as the shard
    has more copies than it should have."""
    surplus = []
    for of_shard in by_shard(nodes).values():
        unused = [node for node in of_shard if is_added(node) and not (node.id in members and members[node.id].slots)]
        surplus += unused[: max(len(of_shard) - copies, 0)]
    return surplus


def heir(node: Node, staying: Sequence[Node], views: Mapping[str, View | None], moved: Set[str]) -> Node:
    """Return the node of its shard that gets back what a surplus node has from the one that it should have replaced:
    that one if it answers, or the primary.

    :param moved: ids of nodes that should have left.
    """
    of_shard = [other for other in staying if other.shard == node.shard]
    leads = primaries(of_shard, best_view(views))
    return max(
        of_shard,
        key=lambda other: (views.get(other.id) is not None, other.id in moved, leads.get(other.shard) is other),
    )


def _replaced(
    leaving: Sequence[Node], staying: Sequence[Node], copies: int, new: NewReplicas
) -> tuple[list[Node], dict[str, str], list[tuple[Node, Node]]]:
    """Return the new nodes, the successor of each node that leaves, and the pairs of both where the successor is
    new."""
    present, going = by_shard(staying), by_shard(leaving)
    missing = {
        shard: range(1, 1 + min(max(copies - len(present.get(shard, ())), 0), len(olds)))
        for shard, olds in going.items()
    }
    found = by_shard(new(missing))
    added: list[Node] = []
    successors: dict[str, str] = {}
    replacements = []
    for shard, olds in going.items():
        fresh = found.get(shard, [])
        for place, old in enumerate(olds):
            if place < len(fresh):
                made = msgspec.structs.replace(fresh[place], priority=old.priority, maxmemory=old.maxmemory)
                added.append(made)
                replacements.append((old, made))
                successors[old.id] = made.id
            else:
                successors[old.id] = (fresh or present[shard])[0].id
    return added, successors, replacements


def _has_failed(node: Node, view: View | None, *, is_cluster: bool) -> bool:
    """Whether the others agree that a node which does not answer is lost, and another one has its slots. Nodes of a
    cluster vote on that. Outside of clusters the primary that the sentinels have made does not know the node: it is no
    replica that is connected to it.

    :param view: of the cluster, or of the present primary; None without one.
    """
    member = view.members.get(node.id) if view else None
    if is_cluster:
        return member is not None and "fail" in member.flags and not member.slots
    return view is not None and member is None


def _copies(node: Node, nodes: Sequence[Node], views: Mapping[str, View | None]) -> list[Node]:
    """Return the other nodes of the shard that answer."""
    return [other for other in nodes if other.shard == node.shard and other.id != node.id and views.get(other.id)]


def _why_not(node: Node, nodes: Sequence[Node], views: Mapping[str, View | None], cause: MoveCause) -> str:
    if views.get(node.id) is not None:
        return f"node {node.id} answers, so its host is not lost"
    if cause == "silent_host":
        return f"node {node.id} is not replaced: the other nodes have not agreed that it has failed, or have no copy"
    if not _copies(node, nodes, views):
        return f"node {node.id} cannot be replaced: no copy of shard {node.shard} is left"
    return f"node {node.id} is not replaced: shard {node.shard} has no slots, or on another host that does not answer"
