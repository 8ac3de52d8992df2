"""Instances on record, counted."""

from contextlib import closing
from pathlib import Path

import msgspec

from cachewright.model.hosts import EMBEDDED
from cachewright.services.instance_queries import count_by_tls
from cachewright.store import instances
from database_fixtures import an_instance, new_database
from standalone_node import node_at

CLUSTER, SINGLE = "redis.cluster.xu1.large.r1.s1.1", "redis.single.xu1.large.1"


def test_instances_of_this_machine_whose_nodes_connect_to_each_other_are_counted(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database, database.write() as connection:
        for number, (spec_code, node_ca) in enumerate(
            [(CLUSTER, "pem"), (CLUSTER, None), (CLUSTER, None), (SINGLE, None), (CLUSTER, "pem"), (CLUSTER, None)]
        ):
            instances.add(connection, an_instance(id=str(number), spec_code=spec_code, node_ca=node_ca))
            host_name = EMBEDDED if number < 4 else "h2"
            place = {"id": str(number), "instance_id": str(number), "host_name": host_name}
            instances.add_nodes(connection, [msgspec.structs.replace(node_at(7000 + number, 8000 + number), **place)])
        assert count_by_tls(connection) == (1, 2)
