"""Primary/standby instances: a primary with one to five replicas, without cluster mode.

Any client can use them, and select among databases. Valkey's Sentinel makes a replica the primary when the primary
fails. Where HAProxy is installed, clients have one address that always leads to the primary.
"""

from collections.abc import Mapping, Sequence

from cachewright.flavors import Flavor
from cachewright.model.instances import Node
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies.topology import Steps, start_node, status_check
from cachewright.valkey.access import Access
from cachewright.valkey.config import LISTENER, LISTENER_CONF, Setting, watched_settings
from cachewright.valkey.plain_replication import replication_view
from cachewright.valkey.topology import View

_DATABASES = 256  # as on the cloud
_REPLICATION_SECONDS, _WATCH_SECONDS, _PROXY_SECONDS, _END_SECONDS = 0.2, 1.0, 0.3, 0.2


class Ha:
    """Implements `Topology`."""

    cache_mode = "ha"
    databases = _DATABASES
    is_cluster = False
    has_sentinel = True
    hold_seconds = 0.0

    def can_become(self, now: Flavor, new: Flavor) -> bool:
        """The memory can change, or the number of replicas, or it becomes single, or a cluster of any size."""
        is_alone = new.cache_mode == now.cache_mode and new.copies == now.copies
        is_kin = is_alone or new.cache_mode == "cluster" or (new.cache_mode in {"ha", "single"} and new.same_size(now))
        return is_kin and new.cpu_type == now.cpu_type

    def settings(self, node: Node, access: Access) -> Sequence[Setting]:
        return [("databases", _DATABASES), *watched_settings(node, access)]

    def start_files(self) -> Mapping[str, str]:
        return {LISTENER: LISTENER_CONF}

    def first_files(
        self, node: Node, nodes: Sequence[Node], *, founding: bool, known: str | None = None
    ) -> Mapping[str, str]:
        return {}

    async def view(self, node: Node, peers: Sequence[Node], access: Access, answer_seconds: float) -> View:
        return await replication_view(node, peers, access, answer_seconds)

    def formation(self, nodes: Sequence[Node]) -> Steps:
        """Start all nodes. Then replicas follow the primary, sentinels watch it, and the proxy leads to it."""
        return {
            "Resource request.": [start_node(node, founding=False) for node in nodes],
            "Replication.": [
                SubStepSpec(
                    name="Replication.",
                    action="form replication",
                    work=effort("replication", unit="nodes", total=len(nodes), seconds=_REPLICATION_SECONDS),
                )
            ],
            "Failover.": watch_steps(),
            "Post-check.": [status_check()],
        }

    def dissolution(self, nodes: Sequence[Node]) -> Steps:
        end = SubStepSpec(name="Failover end.", action="end failover", work=effort("failover", seconds=_END_SECONDS))
        return {"Failover end.": [end]}


def watch_steps() -> list[SubStepSpec]:
    """Return the sub-steps after which sentinels and the proxy know the nodes of an instance."""
    return [
        SubStepSpec(
            name="Failover by Sentinel.", action="watch primary", work=effort("failover", seconds=_WATCH_SECONDS)
        ),
        SubStepSpec(
            name="Address of the primary.", action="start proxy", work=effort("address", seconds=_PROXY_SECONDS)
        ),
    ]
