"""Roles of nodes that do not respond."""

import uuid

import pytest

from cachewright.api.schemas.instance_state import instance_state
from cachewright.model.instances import Node, Role
from cachewright.monitoring.node_stats import NodeStats
from cachewright.monitoring.snapshots import InstanceSnapshot
from database_fixtures import an_instance


def node(role: Role) -> Node:
    return Node(
        id=role,
        instance_id="i",
        shard=0,
        role=role,
        host="127.0.0.1",
        port=1,
        bus_port=2,
        maxmemory=1,
        should_run=True,
        created_at=1,
    )


@pytest.mark.parametrize(
    ("reported", "shown"), [("primary", ["replica", "primary"]), ("replica", ["primary", "replica"])]
)
def test_a_silent_node_is_shown_as_a_primary_only_if_no_other_one_is(reported: Role, shown: list[Role]) -> None:
    stats = NodeStats(
        node=node("replica"),
        role=reported,
        used_memory=1,
        keys=1,
        ops_per_second=1,
        clients=1,
        input_kbps=1,
        output_kbps=1,
    )
    nodes = [(node("primary"), None), (node("replica"), stats)]
    state = instance_state(
        InstanceSnapshot(instance=an_instance(id=str(uuid.uuid4())), nodes=nodes, view=None, task=None)
    )
    assert [found.role for found in state.shards[0].nodes] == shown
