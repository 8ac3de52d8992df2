"""What clients and strangers could do to the parameters of a node and to the connections that it takes."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest
from valkey import Valkey
from valkey.exceptions import NoPermissionError, ValkeyError

from caches import cache, load, present, serves
from cachewright.valkey.parameters import BY_NAME, PARAMETERS, RESERVED_CONNECTIONS
from sdk_calls import PASSWORD, created, ended, show
from serving import Server, until

KEYS = 2_000
CLIENTS = 1000


@pytest.fixture(scope="module")
def instance_id(client: Any) -> Iterator[str]:
    made = created(client, 1, name="attacked")
    yield made
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made))


def change(server: Server, instance_id: str, name: str, value: str) -> tuple[int, Any]:
    item = {"param_id": BY_NAME[name].id, "param_name": name, "param_value": value}
    return server.call("PUT", f"instances/{instance_id}/async-configs", {"redis_config": [item]})


def limited(server: Server) -> str:
    """Id of an instance with some keys that takes a thousand clients."""
    client = server.client()
    instance_id = created(client, 1)
    load(cache(client, instance_id), KEYS)
    status, answer = change(server, instance_id, "maxclients", str(CLIENTS))
    assert status == 200
    assert ended(client, instance_id, answer["job_id"]).status == "SUCCESS"
    return instance_id


def flood(sockets: ExitStack, port: int) -> list[socket.socket]:
    """All the connections that a node takes, and some more. Nobody has to sign in for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    opened = []
    for _ in range(CLIENTS + RESERVED_CONNECTIONS + 200):
        one = sockets.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        one.setblocking(False)
        opened.append(one)
    return opened


def alive(sockets: list[socket.socket]) -> int:
    """How many of them the node has not closed."""

    def open_still(one: socket.socket) -> bool:
        try:
            return one.recv(1) != b"" and False
        except BlockingIOError:
            return True
        except OSError:
            return False

    return sum(map(open_still, sockets))


def is_active(server: Server, instance_id: str) -> bool:
    status, answer = server.call("GET", f"instance/{instance_id}/groups")
    assert status == 200
    return {node["status"] for group in answer["group_list"] for node in group["replication_list"]} == {"Active"}


def test_connections_of_clients_do_not_lock_the_control_plane_out(own_server: Server) -> None:
    instance_id = limited(own_server)
    port = show(own_server.client(), instance_id).port
    with ExitStack() as sockets:
        opened = flood(sockets, port)
        until(lambda: alive(opened) <= CLIENTS, "the connections above the limit stay")
        assert alive(opened) >= CLIENTS - 50, "those within the limit stay"
        until(lambda: is_active(own_server, instance_id), "the API does not see the node")
        status, answer = change(own_server, instance_id, "timeout", "60")
        assert status == 200
        assert ended(own_server.client(), instance_id, answer["job_id"]).status == "SUCCESS"
    assert present(cache(own_server.client(), instance_id), KEYS) == KEYS


def test_a_node_that_was_taken_while_no_server_ran_is_taken_back(own_server: Server) -> None:
    instance_id = limited(own_server)
    port = show(own_server.client(), instance_id).port
    own_server.kill()
    with ExitStack() as sockets:
        opened = flood(sockets, port)
        assert alive(opened) >= CLIENTS + RESERVED_CONNECTIONS - 50, "the node is full"
        own_server.start()
        restarted = "is restarted: its clients have taken all connections"
        until(lambda: restarted in own_server.log(), "the node is not restarted")
        until(lambda: is_active(own_server, instance_id), "the API does not see the node")
    until(lambda: serves(own_server.client(), instance_id), "the node does not serve")
    assert present(cache(own_server.client(), instance_id), KEYS) == KEYS, "what was acknowledged is there"


def test_a_client_changes_no_parameter_by_itself(client: Any, server: Server, instance_id: str) -> None:
    with Valkey(host="127.0.0.1", port=show(client, instance_id).port, password=PASSWORD) as node:
        for parameter in PARAMETERS:
            with pytest.raises(NoPermissionError):
                node.config_set(parameter.name, parameter.default)
        with pytest.raises(ValkeyError):
            node.eval("return redis.call('CONFIG', 'SET', 'maxclients', '1')", 0)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("value", ["0\nrequirepass stolen", '"\nbind 0.0.0.0\n#', "\\", '0" #', "${HOME}", "\u2028"])
def test_no_value_writes_lines_of_its_own_into_a_file(server: Server, instance_id: str, name: str, value: str) -> None:
    status, answer = change(server, instance_id, name, value)
    assert (status, answer["error_code"]) == (400, "DCS.4066")


def test_the_append_only_file_cannot_be_switched_off(server: Server, instance_id: str) -> None:
    status, answer = change(server, instance_id, "appendonly", "no")
    assert (status, answer["error_code"]) == (400, "DCS.4066")
