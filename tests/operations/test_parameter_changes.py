"""Parameters on real clusters: on every node or on none, for nodes that join, restart, freeze or refuse."""

import stat
import time
from collections.abc import Mapping
from typing import Any

import psutil
import pytest
from test_restart import restart

from caches import cache, load, operator_of, present, serves
from cachewright.valkey.parameters import BY_NAME, node_settings, read_settings, same
from sdk_calls import created, ended, held_in_migration, progress, resize, show
from serving import Server, freeze, thaw, until
from traffic import Traffic

KEYS = 5_000
NEW = {"maxmemory-policy": "allkeys-lru", "maxclients": "2000", "notify-keyspace-events": "KEA"}
OLD = {name: BY_NAME[name].default for name in NEW}


def change(server: Server, instance_id: str, values: Mapping[str, str]) -> str:
    """The task's id."""
    items = [{"param_id": BY_NAME[name].id, "param_name": name, "param_value": values[name]} for name in values]
    status, answer = server.call("PUT", f"instances/{instance_id}/async-configs", {"redis_config": items})
    assert status == 200, answer
    return str(answer["job_id"])


def changed(server: Server, instance_id: str, values: Mapping[str, str]) -> None:
    assert ended(server.client(), instance_id, change(server, instance_id, values)).status == "SUCCESS"


def ports(server: Server, instance_id: str) -> list[int]:
    """Of all nodes, in the order in which their parameters are changed."""
    return [int(address.rpartition(":")[2]) for address in show(server.client(), instance_id).backend_addrs.split(",")]


def process(server: Server, port: int) -> psutil.Process:
    """That listens on this port."""
    for node in server.nodes():
        if any(one.laddr.port == port for one in node.net_connections(kind="tcp") if one.status == "LISTEN"):
            return node
    raise AssertionError(f"nobody listens on {port}")


def found(server: Server, port: int, names: Mapping[str, str] = NEW) -> dict[str, str]:
    with operator_of(server, "127.0.0.1", port, decode_responses=True, socket_timeout=5) as node:
        return read_settings(node.config_get(*names))


def have(server: Server, nodes: list[int], values: Mapping[str, str]) -> bool:
    return all(same(name, found(server, port, values)[name], values[name]) for port in nodes for name in values)


def in_files(server: Server, value: str) -> int:
    """In how many files of nodes a line is."""
    files = list((server.data_dir / "nodes").glob("*/valkey.conf"))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    return sum(value in file.read_text().splitlines() for file in files)


def configs(server: Server, instance_id: str) -> Any:
    status, answer = server.call("GET", f"instances/{instance_id}/configs")
    assert status == 200, answer
    return answer


def values(server: Server, instance_id: str) -> dict[str, str]:
    return {one["param_name"]: one["param_value"] for one in configs(server, instance_id)["redis_config"]}


def test_a_change_is_on_every_node_and_on_those_that_join_or_restart(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)
    changed(own_server, instance_id, NEW | {"appendfsync": "no"})
    nodes = ports(own_server, instance_id)
    assert have(own_server, nodes, NEW)
    assert in_files(own_server, 'maxmemory-policy "allkeys-lru"') == 4
    assert values(own_server, instance_id)["maxclients"] == "2000"

    victim = process(own_server, nodes[-1])
    victim.kill()
    until(lambda: len(own_server.nodes()) == 4 and not victim.is_running(), "the node was not started again")
    until(lambda: serves(client, instance_id), "the node does not answer")
    assert have(own_server, nodes, NEW), "it was started with them"

    started = {node.pid for node in own_server.nodes()}
    changed(own_server, instance_id, {"tcp-backlog": "256"})
    assert not started & {node.pid for node in own_server.nodes()}, "Valkey reads it at its start only"
    started = {node.pid for node in own_server.nodes()}
    changed(own_server, instance_id, {"tcp-backlog": "256"})
    assert {node.pid for node in own_server.nodes()} == started, "a value that a node has needs no restart"

    assert ended(client, instance_id, resize(client, instance_id, 3, copies=2)).status == "SUCCESS"
    nodes = ports(own_server, instance_id)
    assert len(nodes) == 6
    assert have(own_server, nodes, NEW | {"tcp-backlog": "256"}), "masters and replicas that have joined have them"
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert have(own_server, nodes, NEW | {"appendfsync": "no"})
    assert present(cache(client, instance_id), KEYS) == KEYS

    changed(own_server, instance_id, OLD)
    assert have(own_server, nodes, OLD | {"appendfsync": "no"}), "what was not named has stayed"
    assert in_files(own_server, 'maxmemory-policy "noeviction"') == 6


def refusing(server: Server, port: int, *, refuses: bool) -> None:
    """Whether a node takes changes of its settings."""
    with operator_of(server, "127.0.0.1", port) as node:
        node.execute_command("ACL", "SETUSER", "cachewright", f"{'-' if refuses else '+'}config|set")


def test_when_one_node_refuses_all_keep_their_values(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    changed(own_server, instance_id, {"maxclients": "3000"})
    before = OLD | {"maxclients": "3000"}
    nodes = ports(own_server, instance_id)
    refusing(own_server, nodes[-1], refuses=True)
    task_id = change(own_server, instance_id, NEW)
    assert ended(client, instance_id, task_id).status == "FAILED"
    _, record = own_server.call("GET", f"tasks/{task_id}")
    (step, _) = record["progress"]["step_details"]
    assert [part["sub_step_status"] for part in step["sub_step_details"]] == ["FINISH", "FINISH", "FAILED"]
    node_id = step["sub_step_details"][2]["sub_step_name"]
    assert node_id.endswith("Shard 2, primary")
    assert record["task"]["error_code"] == "DCS.4066"
    assert "refuses" in record["message"]
    with operator_of(own_server, "127.0.0.1", nodes[-1], decode_responses=True) as node:
        assert node.execute_command("CLUSTER", "MYID") in record["message"], "it says which node"
    assert have(own_server, nodes, before)
    assert in_files(own_server, 'maxmemory-policy "noeviction"') == 3
    assert configs(own_server, instance_id)["config_status"] == "FAILURE"
    assert values(own_server, instance_id)["maxclients"] == "3000"
    assert show(client, instance_id).status == "RUNNING"

    refusing(own_server, nodes[-1], refuses=False)
    assert own_server.call("POST", f"instances/{instance_id}/tasks/{task_id}/retry")[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert have(own_server, nodes, NEW)


def test_what_this_host_does_not_allow_is_refused_by_the_node(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    (port,) = ports(own_server, instance_id)
    node = process(own_server, port)
    node.rlimit(psutil.RLIMIT_NOFILE, (node.rlimit(psutil.RLIMIT_NOFILE)[0],) * 2)
    task_id = change(own_server, instance_id, {"maxclients": "50000", "timeout": "9"})
    row = ended(client, instance_id, task_id)
    if row.status == "SUCCESS":
        pytest.skip("who runs this may raise any limit")
    _, record = own_server.call("GET", f"tasks/{task_id}")
    assert "The operating system is not able" in record["message"]
    assert have(own_server, [port], {"maxclients": "10000", "timeout": "0"})


@pytest.mark.parametrize("refuses", [False, True])
def test_a_change_is_whole_when_the_server_was_killed_in_it(own_server: Server, refuses: bool) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    nodes = ports(own_server, instance_id)
    refusing(own_server, nodes[2], refuses=refuses)
    stuck = process(own_server, nodes[1])
    freeze(stuck)  # so that the change is not over before the server is killed
    task_id = change(own_server, instance_id, NEW)

    def half_way() -> bool:
        subs = progress(client, instance_id, task_id).step_details[0].sub_step_details
        return [sub.sub_step_status for sub in subs][:1] == ["FINISH"]

    until(half_way, "the first node is not changed")
    own_server.kill()
    assert have(own_server, nodes[:1], NEW)
    assert have(own_server, nodes[2:], OLD)
    thaw(stuck)
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == ("FAILED" if refuses else "SUCCESS")
    final = OLD if refuses else NEW
    until(lambda: have(own_server, nodes, final), "the nodes differ")
    shown = values(own_server, instance_id)
    assert {name: shown[name] for name in final} == final
    assert in_files(own_server, f'maxmemory-policy "{final["maxmemory-policy"]}"') == 3


def test_a_node_that_was_frozen_gets_what_it_has_missed(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1, copies=2)
    nodes = ports(own_server, instance_id)
    stuck = process(own_server, nodes[1])
    freeze(stuck)
    try:
        changed(own_server, instance_id, NEW)
        assert have(own_server, nodes[:1], NEW)
        assert in_files(own_server, 'maxmemory-policy "allkeys-lru"') == 2, "it would start with them"
    finally:
        thaw(stuck)
    until(lambda: have(own_server, nodes, NEW), "the node has not got its parameters")
    assert configs(own_server, instance_id)["config_status"] == "SUCCESS"


def test_a_change_that_no_node_hears_of_fails(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    (port,) = ports(own_server, instance_id)
    stuck = process(own_server, port)
    freeze(stuck)
    try:
        task_id = change(own_server, instance_id, NEW)
        assert ended(client, instance_id, task_id, seconds=150).status == "FAILED"
    finally:
        thaw(stuck)
    assert have(own_server, [port], OLD)
    assert values(own_server, instance_id)["maxclients"] == "10000"


def test_a_node_with_other_values_than_the_record_shows_and_is_set_right(own_server: Server) -> None:
    instance_id = created(own_server.client(), 2)
    changed(own_server, instance_id, NEW)
    nodes = ports(own_server, instance_id)
    own_server.kill()
    with operator_of(own_server, "127.0.0.1", nodes[1]) as node:
        node.config_set("maxmemory-policy", "volatile-ttl")
        node.config_set("maxclients", node_settings({"maxclients": "1500"})["maxclients"])
    own_server.start()
    seen = until(lambda: values(own_server, instance_id), "nothing is shown")
    assert seen["maxclients"] in {"1500", "2000"}, "what a node really has, or it has been set right already"
    until(lambda: have(own_server, nodes, NEW), "the node was not set right")
    until(lambda: "maxmemory-policy" in own_server.log(), "nobody is told")
    assert values(own_server, instance_id)["maxclients"] == "2000"


ENDS = [
    {"timeout": "1", "repl-timeout": "30", "proto-max-bulk-len": "1048576", "repl-backlog-size": "16384"},
    {"repl-timeout": "3600", "repl-backlog-size": "1073741824", "repl-backlog-ttl": "1", "appendfsync": "always"},
    {"appendfsync": "no", "maxmemory-policy": "allkeys-lru", "lua-time-limit": "100", "maxclients": "1000"},
]


@pytest.mark.parametrize("at_the_end", ENDS, ids=["small", "large", "others"])
def test_a_cluster_is_scaled_with_values_at_the_ends_of_their_ranges(
    own_server: Server, at_the_end: Mapping[str, str]
) -> None:
    """Values larger than a request may be, idle connections that nodes close, a backlog that holds nothing."""
    client = own_server.client()
    instance_id = created(client, 1, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    large = {f"large:{number}": bytes([number]) * 5_000_000 for number in range(6)}
    for key, value in large.items():
        caches.set(key, value)
    changed(own_server, instance_id, at_the_end)
    writer = Traffic(0, show(client, instance_id).port)
    writer.start()
    for shards in (3, 1):
        task_id = resize(client, instance_id, shards, copies=2)
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        caches = cache(client, instance_id)
        assert present(caches, KEYS) == KEYS
        assert {key: caches.get(key) for key in large} == large
    writer.finish(caches)
    assert writer.losses == []
    assert "retrying" not in own_server.log()


def test_a_scale_that_is_paused_outlasts_connections_that_nodes_close(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    load(cache(client, instance_id), KEYS)
    changed(own_server, instance_id, {"timeout": "1"})
    writer = Traffic(0, show(client, instance_id).port)
    writer.start()
    until(lambda: writer.writes, "nobody writes")

    task_id = held_in_migration(own_server, client, instance_id, 2)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert own_server.call("PUT", path, {"state": "paused"})[0] == 200
    time.sleep(4)  # idle for longer than the nodes allow
    assert own_server.call("PUT", path, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    writer.finish(cache(client, instance_id))
    assert writer.losses == []
    assert "Slot migration" not in own_server.log(), "no attempt has failed"
