"""Single instances: one node without cluster mode and without a replica.

Clients need no cluster client and can select among databases. The instance is unavailable while its node restarts.
"""

from collections.abc import Mapping, Sequence

from cachewright.flavors import Flavor
from cachewright.model.instances import Node
from cachewright.topologies.topology import Steps, start_node, status_check
from cachewright.valkey.access import Access
from cachewright.valkey.config import Setting, proxy_user
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Unreadable, fields, request_once
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

_DATABASES = 256  # as on the cloud


class Single:
    """Implements `Topology`."""

    cache_mode = "single"
    databases = _DATABASES
    is_cluster = False
    has_sentinel = False
    hold_seconds = 0.0

    def can_become(self, now: Flavor, new: Flavor) -> bool:
        """The memory can change, or it gets replicas and failover, or it becomes a cluster of any size."""
        is_kin = new.cache_mode in {now.cache_mode, "cluster"} or (new.cache_mode == "ha" and new.same_size(now))
        return is_kin and new.cpu_type == now.cpu_type

    def settings(self, node: Node, access: Access) -> Sequence[Setting]:
        return [("databases", _DATABASES), proxy_user(access)]

    def start_files(self) -> Mapping[str, str]:
        return {}

    def first_files(
        self, node: Node, nodes: Sequence[Node], *, founding: bool, known: str | None = None
    ) -> Mapping[str, str]:
        return {}

    async def view(self, node: Node, peers: Sequence[Node], access: Access, answer_seconds: float) -> View:
        """Return a view whose only member is the node. The node owns all slots, because it serves every key."""
        commands = [("PING",), ("INFO", "replication")]  # PING is refused while the node loads its data, INFO is not
        _, reply = await request_once(node, access, commands, answer_seconds)
        role = ROLES.get(fields(reply).get("role", ""))
        if role is None:
            raise Unreadable("the reply names no role")
        itself = Member(
            id=node.id,
            address=f"{node.host}:{node.port}@{node.bus_port}",
            flags=frozenset({"myself", "master"}),
            primary=None,
            linked=True,
            slots=(SlotRange(0, SLOTS - 1),),
        )
        return View(ok=role == "primary", epoch=0, members={node.id: itself})

    def formation(self, nodes: Sequence[Node]) -> Steps:
        return {
            "Resource request.": [start_node(node, founding=False) for node in nodes],
            "Post-check.": [status_check()],
        }

    def dissolution(self, nodes: Sequence[Node]) -> Steps:
        return {}
