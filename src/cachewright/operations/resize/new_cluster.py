"""The change of a single or primary/standby instance to a cluster, as a resize plans it. Pure.

It has two parts: a new node takes over, as the only shard of a cluster; then the cluster is resized as any other. The
second part is planned for the cluster that the first one leaves.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from cachewright.config import Settings
from cachewright.flavors import Flavor
from cachewright.model.instances import Node
from cachewright.operations.actions.action import NoArguments
from cachewright.operations.actions.checks import CheckResources
from cachewright.operations.actions.cluster_type import (
    BecomeCluster,
    become_cluster,
    check_databases,
    copy_to_cluster,
    remove_former_nodes,
)
from cachewright.operations.resize.cost_model import copy_effort
from cachewright.operations.resize.plan import Observation
from cachewright.placement import capacity
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies import layout
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

_LANE = "type"
_CHECK_SECONDS = 0.05
_TAKE_OVER_SECONDS, _END_SECONDS = 0.7, 0.2
_EXPECTED_WAIT = "{expected_wait_ms:300}"
"""For how long clients wait at most: 50 to 260 ms were measured, under writes, on a machine with two processors."""


class NewCluster(msgspec.Struct, frozen=True, kw_only=True):
    """The first part.

    :ivar first: the node that takes over.
    :ivar to: size after the second part.
    :ivar copied: bytes of the data.
    :ivar former: number of present nodes.
    """

    first: Node
    to: Flavor
    copied: int
    former: int

    @property
    def checks(self) -> list[SubStepSpec]:
        work = effort("check", seconds=_CHECK_SECONDS)
        return [check_databases.sub_step("Database check.", work, NoArguments())]

    @property
    def sub_steps(self) -> list[SubStepSpec]:
        """The sub-steps after which the instance is a cluster of one shard."""
        become = BecomeCluster(self.first.id, self.to.spec_code)
        seconds = _END_SECONDS * self.former
        return [
            copy_to_cluster.sub_step("Replication to a cluster node.", copy_effort(_LANE, self.copied), become),
            become_cluster.sub_step(
                "Cut-over.", effort(_LANE, seconds=_TAKE_OVER_SECONDS + seconds), become, _EXPECTED_WAIT
            ),
            remove_former_nodes.sub_step("Former nodes.", effort(_LANE, seconds=seconds), NoArguments()),
        ]

    def with_room(self, requirements: CheckResources) -> CheckResources:
        """Return what the second part requires and the first one before it: a copy of all data."""
        memory = capacity.EMPTY_NODE + self.copied
        disk = capacity.disk_bytes(self.copied, 1, 1)
        return replace(
            requirements, host_bytes=requirements.host_bytes + memory, disk_bytes=requirements.disk_bytes + disk
        )


def salt_of_first(run_id: str) -> str:
    """Return the salt of the id of the node that takes over. Nodes of the second part have another one."""
    return f"{run_id}/cluster"


def plan_first(settings: Settings, observed: Observation, to: Flavor, run_id: str, version: str | None) -> NewCluster:
    """Plan the first part. The new node has the memory of the present ones, or that of a shard if it is larger."""
    shard, lead = next(iter(observed.primaries.items()))
    single = replace(to, shards=1, copies=1)
    (node,) = layout.new_nodes(
        settings, observed.instance.id, single, shards=[shard], salt=salt_of_first(run_id), server_version=version
    )
    first = replace(node, maxmemory=max(lead.maxmemory, to.shard_bytes))
    return NewCluster(first=first, to=to, copied=observed.loads[lead.id].used_memory, former=len(observed.nodes))


def after_first(observed: Observation, change: NewCluster, keys: int) -> Observation:
    """Return what will be observed after the first part. The `keys` are taken to be equal parts of the slots."""
    instance, (lead,) = observed.instance, observed.primaries.values()
    node = replace(change.first, host=instance.address, port=instance.seed_port, apart=False)
    owned = (SlotRange(0, SLOTS - 1),)
    member = Member(
        id=node.id,
        address=f"{node.host}:{node.port}@{node.bus_port}",
        flags=frozenset({"myself", "master"}),
        primary=None,
        linked=True,
        slots=owned,
    )
    load = observed.loads[lead.id]
    return Observation(
        instance=replace(instance, spec_code=change.to.spec_code),
        nodes=[node],
        views={node.id: View(ok=True, epoch=1, members={node.id: member})},
        primaries={node.shard: node},
        owned={node.id: owned},
        loads={node.id: replace(load, keys=_even(keys))},
        host=observed.host,
    )


def _even(keys: int) -> Mapping[int, int]:
    """Return keys by slot."""
    return {slot: keys * (slot + 1) // SLOTS - keys * slot // SLOTS for slot in range(SLOTS)}
