"""Which replica of a shard takes over when its primary leaves, restarts or fails. Pure."""

from collections.abc import Sequence

from cachewright.model.instances import NEVER_PRIMARY, Node


def successors(primary: Node, nodes: Sequence[Node]) -> list[Node]:
    """Return the replicas that may take over from the primary, the best first: by priority, 1 first. A replica with
    priority 0 never takes over, and a node that was stopped cannot."""
    replicas = [
        node
        for node in nodes
        if node.shard == primary.shard and node.id != primary.id and node.should_run and node.priority != NEVER_PRIMARY
    ]
    return sorted(replicas, key=lambda node: (node.priority, node.id))
