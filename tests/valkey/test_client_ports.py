"""The ports to which nodes redirect clients, as CLUSTER SHARDS shows them."""

from typing import Any

import pytest

from cachewright.valkey.single_request import Unreadable
from cachewright.valkey.topology import parse_client_ports


def a_node(name: str, **ports: int) -> list[Any]:
    return ["id", name, *(word for pair in ports.items() for word in pair), "ip", "127.0.0.1", "role", "master"]


def shards(*nodes: list[Any]) -> list[Any]:
    return [["slots", [0, 5460], "nodes", [node]] for node in nodes]


def test_a_port_that_is_not_known_is_left_out() -> None:
    reply = shards(a_node("a", **{"port": 7000, "tls-port": 7001}), a_node("b", **{"tls-port": 7003}))
    assert parse_client_ports(reply, tls=False) == {"a": 7000}
    assert parse_client_ports(reply, tls=True) == {"a": 7001, "b": 7003}


@pytest.mark.parametrize("reply", ["OK", [["slots"]], [["slots", []]], [["nodes", [["id", "a", "port", "?"]]]], [7]])
def test_another_reply_is_unreadable(reply: object) -> None:
    with pytest.raises(Unreadable):
        parse_client_ports(reply, tls=False)
