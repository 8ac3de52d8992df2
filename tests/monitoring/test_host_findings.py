"""What follows from hosts that are silent, lost or drained."""

import msgspec

from cachewright.model.hosts import HostState
from cachewright.model.instances import Node
from cachewright.monitoring.host_findings import WatchedHost, faults, moves
from cachewright.operations.requests import MoveRequest, NodeMove

REBUILD_SECONDS = 60.0


def host(name: str, state: HostState = "active", silent_seconds: float | None = None) -> dict[str, WatchedHost]:
    return {name: WatchedHost(name=name, state=state, silent_seconds=silent_seconds)}


def node(name: str, host_name: str, shard: int = 0, **changed: bool) -> Node:
    plain = Node(
        id=name,
        instance_id="i",
        shard=shard,
        role="primary",
        host="",
        port=1,
        bus_port=2,
        maxmemory=1,
        should_run=True,
        created_at=1,
        host_name=host_name,
    )
    return msgspec.structs.replace(plain, **changed)


NODES = (node("a", "h1"), node("b", "h2"), node("c", "h2", shard=1), node("d", "h3", shard=1))


def found(hosts: dict[str, WatchedHost], answering: set[str]) -> dict[str, str]:
    return {kind: text for (_, kind), text in faults(hosts, NODES, answering, REBUILD_SECONDS, busy=()).items()}


def due(hosts: dict[str, WatchedHost], answering: set[str], nodes: tuple[Node, ...] = NODES) -> list[MoveRequest]:
    return [request for _, request in moves(hosts, nodes, answering, REBUILD_SECONDS)]


def test_nodes_of_a_silent_host_are_replaced_after_a_while() -> None:
    answering = {"a", "d"}
    (text,) = found(host("h2", silent_seconds=1), answering).values()
    assert "node b of shard 0 is on host h2, which does not report; after 60 s it is replaced" in text
    assert due(host("h2", silent_seconds=59), answering) == []
    (request,) = due(host("h2", silent_seconds=60), answering)
    assert request == MoveRequest(cause="silent_host", moves=(NodeMove("b"), NodeMove("c")))
    stopped = (*NODES[:2], node("c", "h2", shard=1, should_run=False))
    assert due(host("h2", silent_seconds=60), answering, stopped)[0].moves == (NodeMove("b"),)


def test_a_stopped_node_of_a_silent_host_is_not_said_to_be_replaced() -> None:
    """As during a restore that waits for the former data of a node."""
    stopped = [node("b", "h2", should_run=False), node("c", "h2", shard=1, should_run=False), node("d", "h3", shard=1)]
    (text,) = faults(host("h2", silent_seconds=1), stopped, {"d"}, REBUILD_SECONDS, busy={"i"}).values()
    assert "s it is replaced" not in text
    first, second = text.split("node c of shard 1")
    assert first.count("the node is stopped and is not replaced automatically: start the agent of the host") == 1
    assert "--lost" not in first, "the host has the only copy of shard 0"
    assert "start the agent of the host, or give the host up (hosts remove h2 --lost)" in second
    assert due(host("h2", silent_seconds=600), {"d"}, tuple(stopped)) == []


def test_a_silent_host_is_no_fault_of_a_node_that_its_owner_has_stopped() -> None:
    stopped = [*NODES[:2], node("c", "h2", shard=1, should_run=False), NODES[3]]
    (text,) = faults(host("h2", silent_seconds=600), stopped, {"a", "d"}, REBUILD_SECONDS, busy=()).values()
    assert "node b" in text
    assert "node c" not in text
    every = [node(one.id, one.host_name, one.shard, should_run=False) for one in NODES]
    silent = host("h2", silent_seconds=600)
    assert faults(silent, every, set(), REBUILD_SECONDS, busy={"another"}) == {}
    assert faults(host("h2", "draining", 600), every, set(), REBUILD_SECONDS, busy=()) == {}
    assert set(faults(silent, every, set(), REBUILD_SECONDS, busy={"i"})) == {("i", "silent_host")}
    gone = host("h2", "lost", 600) | host("h3", "lost", 600)
    given_up = faults(gone, every, set(), REBUILD_SECONDS, busy=())
    assert set(given_up) == {("i", "silent_host"), ("i", "lost_data")}, "their data is lost"


def test_nodes_that_answer_stay_although_their_agent_is_away() -> None:
    everything = {node.id for node in NODES}
    for hosts in (host("h2", silent_seconds=600), host("h2", "lost"), host("h2", "draining", 600)):
        assert found(hosts, everything) == {}
        assert due(hosts, everything) == []


def test_a_lost_host_is_replaced_at_the_word_of_the_operator() -> None:
    assert set(found(host("h2", "lost", 1), {"a", "d"})) == {"silent_host"}
    assert due(host("h2", "lost"), {"a", "d"})[0].cause == "lost_host"
    both = host("h2", "lost", 1) | host("h3", "lost", 1)
    assert "no copy of shard 1 is left, its host h2, h3 was given up" in found(both, {"a"})["lost_data"]
    assert "lost_data" not in found(host("h2", "lost", 1) | host("h3", silent_seconds=1), {"a"})


def test_a_drained_host_moves_the_nodes_that_it_can_reach() -> None:
    assert due(host("h2", "draining"), {"a", "b", "c", "d"}) == [
        MoveRequest(cause="drain", moves=(NodeMove("b"), NodeMove("c")))
    ]
    assert due(host("h2", "draining", 1), {"a", "d"}) == []
    assert found(host("h2", "draining"), set()) == {}
