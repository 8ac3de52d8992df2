"""Nodes that run on other hosts and do not answer the server."""

import msgspec

from cachewright.model.hosts import HostRecord
from cachewright.model.instances import Node
from cachewright.monitoring.node_stats import NodeStats
from cachewright.monitoring.reach import unreached
from database_fixtures import a_report
from standalone_node import node_at


def host(name: str, *running: str) -> HostRecord:
    report = a_report(processes=dict.fromkeys(running, (1, 1.0)))
    return HostRecord(name=name, address="192.0.2.1", zone="z", state="active", created_at=1, report=report)


def node(node_id: str, host_name: str) -> Node:
    return msgspec.structs.replace(node_at(1), id=node_id, host_name=host_name)


def test_nodes_that_run_and_do_not_answer_are_counted_by_host() -> None:
    hosts = [host("local", "a"), host("h2", "b", "c", "d"), host("h3", "e"), host("h4", "f")]
    answers = NodeStats(
        node=node("b", "h2"),
        role="primary",
        used_memory=1,
        keys=1,
        ops_per_second=1,
        clients=1,
        input_kbps=1.0,
        output_kbps=1.0,
    )
    measured = [
        (node("a", "local"), None),  # of the server's own machine: its supervisor watches it
        (node("b", "h2"), answers),
        (node("c", "h2"), None),
        (node("x", "h2"), None),  # it has died, and is started again
        (node("e", "h3"), None),
        (node("f", "h4"), None),  # a host that does not report
    ]
    assert unreached(hosts, {"local", "h2", "h3"}, measured) == {"local": 0, "h2": 1, "h3": 1}
    assert unreached([host("h2")], {"h2"}, []) == {"h2": 0}
