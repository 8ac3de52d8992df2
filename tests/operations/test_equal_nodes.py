"""Functions and parameters are the same on every node of an instance."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ValkeyClusterException, ValkeyError

from caches import cache, load, operator_of, take_over
from cachewright.valkey.parameters import BY_NAME
from sdk_calls import created, ended, held_in_migration, newest_task, resize
from serving import Server, until

KEYS = 3000
FREE: dict[str, Any] = {}
"""Control settings that hold nothing back."""


def code(name: str, answer: int) -> str:
    return f"#!lua name={name}\nserver.register_function('{name}', function(keys) return {answer} end)"


@contextmanager
def all_nodes(server: Server) -> Iterator[dict[int, Valkey]]:
    """Connections to the nodes of the only instance as the control plane's user, by port."""
    texts = [path.read_text() for path in (server.data_dir / "nodes").glob("*/valkey.conf")]
    ports = [int(dict(line.split(" ", 1) for line in text.splitlines())["port"]) for text in texts]
    with ExitStack() as stack:
        yield {port: stack.enter_context(closing(operator_of(server, "127.0.0.1", port))) for port in ports}


def with_role(nodes: dict[int, Valkey], role: bytes) -> dict[int, Valkey]:
    return {port: node for port, node in nodes.items() if node.execute_command("ROLE")[0] == role}


def libraries(node: Valkey) -> dict[bytes, bytes]:
    rows = node.execute_command("FUNCTION", "LIST", "WITHCODE", NEVER_DECODE=True)
    return {row[1]: row[-1] for row in rows}


def expected(**answers: int) -> dict[bytes, bytes]:
    return {name.encode(): code(name, answer).encode() for name, answer in answers.items()}


def calls(caches: ValkeyCluster, name: str) -> set[Any]:
    """Answers of a function on keys of all shards, errors included."""

    def answer(number: int) -> Any:
        try:
            return caches.fcall(name, 1, f"key:{number}")
        except ValkeyError as error:
            return str(error)

    return {answer(number) for number in range(200)}


def each_has(server: Server, wanted: dict[bytes, bytes]) -> Callable[[], bool]:
    def agree() -> bool:
        with all_nodes(server) as nodes:
            return all(libraries(node) == wanted for node in nodes.values())

    return agree


def test_new_shards_get_functions_and_later_changes_in_mid_scale(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    with all_nodes(own_server) as nodes:
        for node in with_role(nodes, b"master").values():
            for name in ("kept", "replaced", "deleted"):
                node.function_load(code(name, 1))
        assert until(each_has(own_server, expected(kept=1, replaced=1, deleted=1)), "replicas lack the libraries")
    policy = {
        "param_id": BY_NAME["maxmemory-policy"].id,
        "param_name": "maxmemory-policy",
        "param_value": "allkeys-lfu",
    }
    body = {"redis_config": [policy]}
    status, answer = own_server.call("PUT", f"instances/{instance_id}/async-configs", body)
    assert (status, ended(client, instance_id, answer["job_id"]).status) == (200, "SUCCESS")

    task_id = held_in_migration(own_server, client, instance_id, 3, copies=2)
    with all_nodes(own_server) as nodes:
        assert len(nodes) == 6
        for node in with_role(nodes, b"master").values():  # those without slots included
            assert libraries(node) == expected(kept=1, replaced=1, deleted=1)
        old = [node for node in with_role(nodes, b"master").values() if node.dbsize()]
        assert len(old) == 2
        for node in old:
            node.function_load(code("replaced", 2), replace=True)
            node.function_load(code("added", 3))
            node.function_delete("deleted")
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert own_server.call("PUT", path, FREE)[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"

    caches = cache(client, instance_id)
    assert len(caches.get_primaries()) == 3
    assert calls(caches, "kept") == {1}
    assert calls(caches, "replaced") == {2}
    assert calls(caches, "added") == {3}
    until(each_has(own_server, expected(kept=1, replaced=2, added=3)), "a node has other libraries")
    with all_nodes(own_server) as nodes:
        assert {node.config_get("maxmemory-policy")["maxmemory-policy"] for node in nodes.values()} == {"allkeys-lfu"}


def test_a_shard_that_stays_gets_what_it_lacks_and_keeps_its_own(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    with all_nodes(own_server) as nodes:
        ports = [node.port for node in caches.get_primaries()]
        masters = [operator_of(own_server, "127.0.0.1", port) for port in ports]
        for number, node in enumerate(masters):
            node.function_load(code(f"own{number}", number))
            node.function_load(code("shared", number))
        assert ended(client, instance_id, resize(client, instance_id, 1)).status == "SUCCESS"
    with all_nodes(own_server) as nodes:
        (left,) = nodes.values()
        found = libraries(left)
        assert found.keys() == {b"own0", b"own1", b"own2", b"shared"}
        own = next(n for n in range(3) if code("shared", n).encode() == found[b"shared"])
        assert ports[own] == next(iter(nodes)), "its own was replaced"
        assert cache(client, instance_id).fcall("own2", 1, "key:1") == 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Any, str]]:
    """An instance of two shards with a replica each, and a function."""
    server = Server(tmp_path_factory.mktemp("equal") / "data")
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 2, copies=2)
        for node in cache(client, instance_id).get_primaries():
            operator_of(server, node.host, node.port).function_load(code("kept", 1))
        until(each_has(server, expected(kept=1)), "replicas lack the library")
        yield server, client, instance_id
    finally:
        server.clean_up()


def test_functions_are_there_after_a_restart(pair: tuple[Server, Any, str]) -> None:
    server, client, instance_id = pair
    answer = server.call("PUT", "instances/status", {"action": "restart", "instances": [instance_id]})
    assert answer[0] in (200, 204), answer
    until(lambda: newest_task(client, instance_id).status == "SUCCESS", "the restart has not ended")
    require_kept(server, client, instance_id)


def test_functions_are_there_after_nodes_were_killed(pair: tuple[Server, Any, str]) -> None:
    server, client, instance_id = pair
    before = {process.pid for process in server.nodes()}
    for process in server.nodes():
        process.kill()
    until(lambda: len({process.pid for process in server.nodes()} - before) == 4, "the nodes are not started")
    require_kept(server, client, instance_id)


def test_functions_are_there_after_a_failover(pair: tuple[Server, Any, str]) -> None:
    server, client, instance_id = pair
    with all_nodes(server) as nodes:
        _, replica = with_role(nodes, b"slave").popitem()
        take_over(replica)
    require_kept(server, client, instance_id)


def test_functions_are_there_after_a_replica_was_rebuilt(pair: tuple[Server, Any, str]) -> None:
    server, client, instance_id = pair
    with all_nodes(server) as nodes:
        _, replica = with_role(nodes, b"slave").popitem()
        node_id = replica.execute_command("CLUSTER MYID").decode()
        process = next(p for p in server.nodes() if any(node_id in word for word in p.info["cmdline"]))
    process.suspend()  # it is not started again before its files are gone
    shutil.rmtree(server.data_dir / "nodes" / node_id / "appendonlydir")
    process.kill()
    until(lambda: process.pid not in {node.pid for node in server.nodes()}, "the node does not end")
    require_kept(server, client, instance_id)


def require_kept(server: Server, client: Any, instance_id: str) -> None:
    def agree() -> bool:
        try:
            return each_has(server, expected(kept=1))() and calls(cache(client, instance_id), "kept") == {1}
        except (ValkeyError, ValkeyClusterException, OSError):  # ValkeyClusterException is no ValkeyError
            return False

    until(agree, "a node lacks the function")
