"""Cluster instances: the slots are divided among shards, each a primary with its replicas."""

from collections.abc import Mapping, Sequence

from cachewright.flavors import Flavor
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies.topology import Steps, start_node
from cachewright.valkey.access import Access
from cachewright.valkey.config import LISTENER, LISTENER_CONF, Setting, closed_at_start, cluster_settings, nodes_conf
from cachewright.valkey.membership_file import NODES_CONF, with_members
from cachewright.valkey.slots import even_split
from cachewright.valkey.topology import View, ask_view

_FORM_SECONDS, _FORM_SECONDS_A_NODE = 0.2, 0.06


class Cluster:
    """Implements `Topology`."""

    cache_mode = "cluster"
    databases = 1
    is_cluster = True
    has_sentinel = False
    hold_seconds = 2.0

    def can_become(self, now: Flavor, new: Flavor) -> bool:
        """Number and size of the shards can change together. The number of replicas changes alone, as on the cloud."""
        is_kin = (new.cache_mode, new.cpu_type) == (now.cache_mode, now.cpu_type)
        return is_kin and (new.copies == now.copies or new.same_size(now))

    def settings(self, node: Node, access: Access) -> Sequence[Setting]:
        # Without TLS the control plane reaches a node on another host by the port for clients, so that port stays open.
        can_close = node.host_name == EMBEDDED or node.tls_port is not None
        return [*cluster_settings(node), *(closed_at_start(node) if can_close else ())]

    def start_files(self) -> Mapping[str, str]:
        return {LISTENER: LISTENER_CONF}

    def first_files(
        self, node: Node, nodes: Sequence[Node], *, founding: bool, known: str | None = None
    ) -> Mapping[str, str]:
        """Give each founding primary an equal part of the slots and its own epoch. A node that joins later knows the
        members from its first start."""
        founders = [other.id for other in nodes if other.role == "primary"]
        if not founding or node.id not in founders:
            return {NODES_CONF: _joining(node, nodes, known)}
        return {NODES_CONF: nodes_conf(node, founders.index(node.id) + 1, even_split(founders)[node.id])}

    async def view(self, node: Node, peers: Sequence[Node], access: Access, answer_seconds: float) -> View:
        return await ask_view(node, access, answer_seconds)

    def formation(self, nodes: Sequence[Node]) -> Steps:
        """Start all nodes at the same time, each primary with its slots, then introduce them to each other."""
        forming = _FORM_SECONDS + _FORM_SECONDS_A_NODE * len(nodes)
        return {
            "Resource request.": [start_node(node, founding=True) for node in nodes],
            "Cluster formation.": [
                SubStepSpec(
                    name="Cluster formation.",
                    action="form cluster",
                    work=effort("cluster", unit="nodes", total=len(nodes), seconds=forming),
                )
            ],
        }

    def dissolution(self, nodes: Sequence[Node]) -> Steps:
        return {}


def _joining(node: Node, nodes: Sequence[Node], known: str | None) -> str:
    """Return the nodes.conf of a node that joins: with the members that `known` lists. If `known` is missing or
    damaged, the node learns the members later, when they are introduced to it."""
    own = nodes_conf(node)
    try:
        return with_members(own, known or "", [other.id for other in nodes if other.id != node.id])
    except ValueError:
        return own
