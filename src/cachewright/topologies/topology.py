"""The port of a topology: behaviour that is specific to one kind of instance (a cluster, a single node).

Behaviour that all kinds share is outside of the port: the ids of nodes follow from the flavor (`layout`), and clients
get the address of the first node of the instance.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from cachewright.flavors import Flavor
from cachewright.model.instances import Node
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.valkey.access import Access
from cachewright.valkey.config import Setting
from cachewright.valkey.topology import View, views

_START_SECONDS = 0.15

Steps = dict[str, list[SubStepSpec]]
"""Sub-steps by the name of their step, in the order in which the steps run. Steps without sub-steps are left out."""


class Topology(Protocol):
    """One kind of instance. Everything but `view` is pure.

    :ivar cache_mode: the cloud's name of it, the second word of its spec codes.
    :ivar databases: how many databases its clients can select.
    :ivar has_peers: its nodes connect to each other, for the cluster bus, replication and migration.
    :ivar hold_seconds: time for which Valkey serves no client after the start of a node that was a primary.
    """

    cache_mode: str
    databases: int
    has_peers: bool
    hold_seconds: float

    def can_become(self, now: Flavor, new: Flavor) -> bool:
        """Whether a resize from one flavor to another, or to the same, is supported."""

    def settings(self, node: Node) -> Sequence[Setting]:
        """Lines of the node's valkey.conf that other topologies do not have."""

    def first_files(self, node: Node, nodes: Sequence[Node], *, founding: bool) -> Mapping[str, str]:
        """Files that the node has before its first start and that belong to Valkey afterwards, by name. A `founding`
        node is one of those that a new instance begins with; `nodes` are all of the instance."""

    async def view(self, node: Node, access: Access, answer_seconds: float) -> View:
        """The instance as one of its nodes reports it. Raises one of NODE_GONE if the node does not respond,
        NodeRefused if it refuses, as while it loads its data."""

    def formation(self, nodes: Sequence[Node]) -> Steps:
        """Sub-steps that make a new instance of these nodes: they start, and become ready for clients."""


async def view_all(
    topology: Topology, nodes: Sequence[Node], access: Access, answer_seconds: float = 5.0
) -> dict[str, View | None]:
    """The view of each of these nodes, by node id; None for a node that does not respond or refuses."""
    return await views(nodes, access, answer_seconds, topology.view)


def start_node(node: Node, *, founding: bool) -> SubStepSpec:
    """The sub-step that starts a node; see `first_files` for `founding`."""
    return SubStepSpec(
        name=f"Node start. Shard {node.shard}, {node.role}",
        action="start node",
        work=effort(node.id, seconds=_START_SECONDS),
        arguments={"node_id": node.id, "founding": founding},
    )
