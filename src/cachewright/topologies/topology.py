"""The port of a topology: behaviour that differs between kinds of instances, such as cluster and single.

Shared behaviour is elsewhere: `layout` derives the ids of nodes from the flavor, and clients get the address of the
first node of the instance.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from cachewright.flavors import Flavor
from cachewright.model.instances import Node
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.config import Setting
from cachewright.valkey.topology import Needed, View, views

_START_SECONDS = 0.1

STATUS_CHECK = "Instance status check."
CHECK_SECONDS = 0.01
"""Of a check, with the time until its result is stored."""

Steps = dict[str, list[SubStepSpec]]
"""Sub-steps by name of their step, in the order of execution. Steps without sub-steps are omitted."""


class Topology(Protocol):
    """One kind of instance. All methods except `view` are pure.

    :ivar cache_mode: the cloud's name of the kind, which is the second word of its spec codes.
    :ivar databases: number of databases that clients can select.
    :ivar is_cluster: whether nodes form a cluster of Valkey, with a bus and slots.
    :ivar has_sentinel: whether Sentinel watches the nodes. It changes their roles, and rewrites their valkey.conf.
    :ivar hold_seconds: time after the start of a former primary in which Valkey serves no clients.
    """

    cache_mode: str
    databases: int
    is_cluster: bool
    has_sentinel: bool
    hold_seconds: float

    def can_become(self, now: Flavor, new: Flavor) -> bool:
        """Whether a resize from `now` to `new` is supported. The two may be equal."""

    def settings(self, node: Node, access: Access) -> Sequence[Setting]:
        """Return lines of the node's valkey.conf that are specific to this topology."""

    def start_files(self) -> Mapping[str, str]:
        """Return the files, by name, that the node needs at every start in addition to valkey.conf."""

    def first_files(
        self, node: Node, nodes: Sequence[Node], *, founding: bool, known: str | None = None
    ) -> Mapping[str, str]:
        """Return the files, by name, that the node needs before its first start. Valkey overwrites them afterwards.

        :param nodes: all nodes of the instance.
        :param founding: whether the instance is created with this node.
        :param known: the nodes.conf of a member that knows the whole cluster; None if there is none.
        """

    async def view(self, node: Node, peers: Sequence[Node], access: Access, answer_seconds: float) -> View:
        """Return the node's view of the instance, whose nodes are `peers`. Raises one of NODE_GONE if the node does not
        answer, NodeRefused if it refuses, as it does while it loads its data."""

    def formation(self, nodes: Sequence[Node]) -> Steps:
        """Return the steps that start the nodes of a new instance and make them ready for clients."""

    def dissolution(self, nodes: Sequence[Node]) -> Steps:
        """Return the steps before the nodes of a deleted instance stop."""


async def view_all(
    topology: Topology,
    nodes: Sequence[Node],
    access: Access,
    answer_seconds: float = ANSWER_SECONDS,
    *,
    needed: Needed = "none",
    enough: Collection[str] = (),
    peers: Sequence[Node] | None = None,
) -> dict[str, View | None]:
    """Return the view of each node by node id, None for nodes that do not answer or refuse. For `needed` and `enough`
    see `valkey.topology.views`.

    :param peers: all nodes of the instance, if they are not `nodes`.
    """

    async def view(node: Node, access: Access, answer_seconds: float) -> View:
        return await topology.view(node, nodes if peers is None else peers, access, answer_seconds)

    return await views(nodes, access, answer_seconds, view, needed=needed, enough=enough)


def status_check(excluded: Collection[str] = ()) -> SubStepSpec:
    """Return the sub-step that checks the health of an instance. `excluded` are ids of nodes that it leaves out."""
    return SubStepSpec(
        name=STATUS_CHECK,
        action="check status",
        work=effort("check", seconds=CHECK_SECONDS),
        arguments={"new": list(excluded)},
    )


def start_node(node: Node, *, founding: bool) -> SubStepSpec:
    """Return the sub-step that starts a node. `founding` is explained at `Topology.first_files`."""
    return SubStepSpec(
        name=f"Node start. Shard {node.shard}, {node.role}",
        action="start node",
        work=effort(node.id, seconds=_START_SECONDS),
        arguments={"node_id": node.id, "founding": founding},
    )
