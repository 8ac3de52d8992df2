"""The host on which the gateways of a migration run."""

import msgspec
import pytest

from cachewright.hosts.host import MeasuredHost
from cachewright.hosts.resources import Resources
from cachewright.model.instances import Node
from cachewright.operations.online_migrations.parts import seen_from
from cachewright.operations.work_places import next_place, place_of_work, runs_gateways, runs_temporary_nodes
from cachewright.valkey.access import has_socket
from cachewright.valkey.sources.target import TargetMap
from write_log_fixtures import a_node


def nodes_on(*names: str) -> list[Node]:
    return [msgspec.structs.replace(a_node(), id=str(number), host_name=name) for number, name in enumerate(names)]


def a_host(memory_free: int = 100, gateways: tuple[str, ...] | None = ()) -> MeasuredHost:
    resources = Resources(memory=1000, memory_free=memory_free, disk_free=0)
    return MeasuredHost("10.0.0.1", resources, tls=False, gateways=gateways)


@pytest.mark.parametrize(
    ("names", "primaries", "place"),
    [
        (("local", "local"), (), "local"),
        (("local", "h2"), ("h2",), "local"),
        (("local", "h2", "h2"), ("local",), "h2"),
        (("h2", "h3", "h3"), (), "h3"),
        (("h2", "h3", "h3"), ("h2",), "h2"),
        (("small", "small", "h2"), ("small",), "h2"),
        (("small",), ("small",), "small"),
        (("earlier", "earlier"), (), "local"),
        (("silent", "h2", "silent"), ("silent",), "h2"),
        (("silent",), (), "local"),
    ],
)
def test_the_host_of_the_gateways(names: tuple[str, ...], primaries: tuple[str, ...], place: str) -> None:
    hosts = {
        "local": a_host(gateways=None),
        "h2": a_host(),
        "h3": a_host(),
        "small": a_host(49),
        "earlier": a_host(gateways=None),
    }
    assert place_of_work(nodes_on(*names), nodes_on(*primaries), hosts, 50, runs_gateways) == place


def test_gateways_move_only_from_a_host_that_does_not_report() -> None:
    nodes, hosts = nodes_on("h2", "h3"), {"h2": a_host(), "h3": a_host()}
    assert next_place("h2", nodes, hosts, runs_gateways) == "h2"
    del hosts["h2"]
    assert next_place("h2", nodes, hosts, runs_gateways) == "h3"
    assert next_place("h2", nodes, {}, runs_gateways) == "h2"
    assert next_place("local", nodes, hosts, runs_gateways) == "local"


def test_temporary_nodes_are_left_to_the_server_by_agents_of_earlier_releases() -> None:
    nodes = nodes_on("h2", "h2", "h3")
    hosts = {"h2": a_host(), "h3": msgspec.structs.replace(a_host(), runs_temporary_nodes=True)}
    assert place_of_work(nodes, nodes, hosts, 0, runs_temporary_nodes) == "h3"
    assert place_of_work(nodes, nodes, {"h2": a_host()}, 0, runs_temporary_nodes) == "local"
    assert next_place("h3", nodes, {"h2": a_host()}, runs_temporary_nodes) == "h3"


def test_an_agent_reaches_its_own_nodes_by_their_sockets() -> None:
    target = TargetMap(tuple(nodes_on("h2", "h3", "local")), (0, 1, 2))
    seen = seen_from("h2", target)
    assert [has_socket(node) for node in seen.nodes] == [True, False, False]
    assert seen.owners == target.owners
