"""Instances on record, counted."""

from contextlib import closing
from pathlib import Path

from cachewright.services.instance_queries import count_by_tls
from cachewright.store import instances
from database_fixtures import an_instance, new_database

CLUSTER, SINGLE = "redis.cluster.xu1.large.r1.s1.1", "redis.single.xu1.large.1"


def test_only_instances_whose_nodes_connect_to_each_other_count_as_without_tls(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database, database.write() as connection:
        for number, (spec_code, node_ca) in enumerate(
            [(CLUSTER, "pem"), (CLUSTER, None), (CLUSTER, None), (SINGLE, None)]
        ):
            instances.add(connection, an_instance(id=str(number), spec_code=spec_code, node_ca=node_ca))
        assert count_by_tls(connection) == (1, 2)
