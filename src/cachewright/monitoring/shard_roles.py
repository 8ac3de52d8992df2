"""The role of each node of a shard, such that a shard never has two primaries. Pure.

Nodes report roles that are not those of their shard: a new replica is a primary until it joins, a new primary a replica
of its placeholder. A node that restarts reports nothing, and a node that a replica has just replaced still reports that
it is the primary.
"""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright.model.instances import Node, Role


class ReportedRole(msgspec.Struct, frozen=True):
    """A node with the role that it reports.

    :ivar role: None if it does not respond.
    :ivar is_serving: whether it accepts clients.
    """

    node: Node
    role: Role | None
    is_serving: bool


def shard_roles(reports: Sequence[ReportedRole]) -> Mapping[str, Role]:
    """Return the role of each node by its id. `reports` may be of several shards; a shard has at most one primary."""
    primaries = {
        primary.node.id
        for shard in {report.node.shard for report in reports}
        if (primary := _primary([report for report in reports if report.node.shard == shard]))
    }
    return {report.node.id: "primary" if report.node.id in primaries else "replica" for report in reports}


def _primary(shard: Sequence[ReportedRole]) -> ReportedRole | None:
    """Return the primary of a shard: a serving node that reports this role, else the node that most likely has it."""
    serving = [report for report in shard if report.is_serving]
    others = [report for report in shard if not report.is_serving]
    if found := [report for report in serving if report.role == "primary"]:
        # A node that was created as a replica has replaced the other one.
        return min(found, key=lambda report: (report.node.role == "primary", report.node.id))
    if serving and others:
        return min(others, key=lambda report: (report.role != "primary", report.node.role != "primary", report.node.id))
    created = [report for report in shard if report.node.role == "primary"]
    return min(created, key=lambda report: report.node.id, default=None)
