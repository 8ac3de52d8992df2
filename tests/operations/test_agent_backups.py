"""Backups, restores and write logs of instances on other hosts, whose agents store and fetch the data themselves."""

import asyncio
import base64
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from huaweicloudsdkdcs.v2 import ExecuteClusterSwitchoverRequest, ListGroupReplicationInfoRequest
from psycopg import sql
from test_past_backups import offered, past, write_log
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from agents import AgentProcess, Hosts, hosts_on
from backup_files import finished, requested
from bucket import SECRET, access_to, bucket_service
from caches import cache, load, operator_of, present
from cachewright.backups.manifest import read_manifest
from cachewright.backups.storage import Storage
from cachewright.store.encryption import read_key
from migrating import SINGLE, imported, log, reaches
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, create_body, created, ended, newest_task, progress, show
from serving import until

KEYS = 3_000
SLOW = 10_000
"""Microseconds for which a node pauses after each key of its snapshot (`rdb-key-save-delay`)."""

AWAY = ["az2", "az3"]
STORAGE = "s3://bucket/caches"


@pytest.fixture(scope="module")
def hosts(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A server and two agents, with a bucket for their backups."""
    with bucket_service() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in access_to(endpoint).items():
            patch.setenv(name, value)
        with hosts_on(postgres, tmp_path_factory.mktemp("hosts"), AWAY, "--backup-storage", STORAGE) as made:
            yield made


def kept(hosts: Hosts, *prefixes: str) -> list[Path]:
    """Folders below those of nodes on the other hosts whose names begin so."""
    folders = [path for agent in hosts.agents.values() for path in (agent.data_dir / "nodes").glob("*/*")]
    return [path for path in folders if path.name.startswith(prefixes)]


def leftovers(hosts: Hosts) -> list[Path]:
    """Files of backups and restores on all hosts."""
    spool = hosts.server.data_dir / "spool"
    return [*kept(hosts, "snapshot-", "fetched-", "restored-", "before-", "."), *(spool.glob("*"))]


def stored(url: str) -> bytes:
    """Everything that the database contains: rows of all tables as JSON, and what is in them in Base64, as DBOS stores
    its values."""
    found = []
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL("SELECT row_to_json(t)::text FROM {} AS t").format(sql.Identifier(schema, table))
            for (row,) in connection.execute(query):
                found.append(row.encode())
                found += [base64.b64decode(text) for text in re.findall(r"(?:[A-Za-z0-9+/]{4}){4,}", row)]
    return b"\n".join(found)


def keys_of(hosts: Hosts, backup_id: str) -> list[str]:
    """Keys of the snapshots of a backup."""

    async def read() -> list[str]:
        cipher = read_key(hosts.server.data_dir / "secret.key")
        manifest = await read_manifest(Storage.open(STORAGE), cipher, backup_id)
        return [shard.key for shard in manifest.shards]

    return asyncio.run(read())


def keys_of_logs(hosts: Hosts, instance_id: str) -> list[str]:
    """Keys of the write logs of an instance."""
    with psycopg.connect(hosts.url) as connection:
        rows = connection.execute("SELECT key FROM write_logs WHERE instance_id = %s", [instance_id]).fetchall()
    cipher = read_key(hosts.server.data_dir / "secret.key")
    return [cipher.decrypt(row[0]) for row in rows]


def require_not_in_clear(hosts: Hosts, *secrets: str) -> None:
    """Check that neither the database nor a log has one of these."""
    texts = stored(hosts.url)
    assert b"perform_call" in texts, "the calls to agents are not where they are looked for"
    logs = [hosts.server.log(), *(agent.log() for agent in hosts.agents.values())]
    for secret in secrets:
        assert secret.encode() not in texts
        assert not any(secret in log for log in logs)


def fill(caches: ValkeyCluster) -> None:
    load(caches, KEYS)
    caches.hset("hash", mapping={"field": "value"})
    caches.set("temporary", "x", px=3_600_000)


def restore(hosts: Hosts, instance_id: str, backup_id: str) -> str:
    """Start a restore without a safety backup, and return the id of its task."""
    body = {"backup_id": backup_id, "safety_backup": False}
    status, answer = hosts.server.call("POST", f"instances/{instance_id}/restores", body)
    assert status == 200, answer
    return str(newest_task(hosts.server.client(), instance_id).id)


def operators(hosts: Hosts, instance_id: str) -> dict[str, list[Valkey]]:
    """Connections to the nodes on each host, with administrative rights."""
    found: dict[str, list[Valkey]] = {}
    for name, host in hosts.listed().items():
        for node in host["nodes"]:
            if node["instance_id"] == instance_id:
                address, _, port = node["address"].rpartition(":")
                found.setdefault(name, []).append(operator_of(hosts.agents[name], address, int(port)))
    return found


def test_agents_store_and_fetch_the_data_of_their_nodes(hosts: Hosts) -> None:
    client = hosts.server.client()
    instance_id = created(client, 2, copies=2, az_codes=AWAY)
    caches = cache(client, instance_id)
    fill(caches)
    backup_id = requested(client, instance_id)
    done = finished(client, instance_id, backup_id)
    assert (done.status, done.error_code) == ("succeed", None), hosts.server.log()
    assert leftovers(hosts) == []
    caches.set("later", "x")
    caches.delete(*(f"key:{number}" for number in range(10)))

    task_id = restore(hosts, instance_id, backup_id)
    assert ended(client, instance_id, task_id).status == "SUCCESS", hosts.server.log()
    names = [step.step_name for step in progress(client, instance_id, task_id).step_details]
    assert "Backup download." not in names, "the server fetched what only agents need"
    caches = cache(client, instance_id)
    assert present(caches, KEYS) == KEYS
    assert (caches.exists("later"), caches.hget("hash", "field")) == (0, b"value")
    assert leftovers(hosts) == []

    body = create_body(3, az_codes=AWAY).to_dict() | {"backup_id": backup_id}
    status, answer = hosts.server.call("POST", "instances", {name: value for name, value in body.items() if value})
    assert status == 200, answer
    other = str(answer["instances"][0]["instance_id"])
    until(lambda: show(client, other).status != "CREATING", "the instance is not created")
    assert show(client, other).status == "RUNNING", hosts.server.log()
    caches = cache(client, other)
    assert present(caches, KEYS) == KEYS
    assert 3_000_000 < caches.pttl("temporary") <= 3_600_000
    assert leftovers(hosts) == []

    caches.delete(*(f"key:{number}" for number in range(10)))
    migration_id = imported(client, other, backup=backup_id)
    reaches(client, migration_id, "SUCCESS")
    assert present(caches, KEYS) == KEYS
    assert any("files are imported by host" in line for line in log(client, migration_id))

    keys = keys_of(hosts, backup_id)
    assert len(keys) == 2
    require_not_in_clear(hosts, PASSWORD, SECRET, *keys)
    assert STORAGE.encode() not in stored(hosts.url)
    assert not any("Traceback" in agent.log() for agent in hosts.agents.values())


def created_from(hosts: Hosts, backup_id: str, **wished: Any) -> str:
    """The id of a new instance with the data of a backup, which is RUNNING."""
    body = create_body(1, capacity=1, **wished).to_dict() | {"backup_id": backup_id}
    given = {name: value for name, value in body.items() if value}
    status, answer = hosts.server.call("POST", "instances", given)
    assert status == 200, answer
    instance_id = str(answer["instances"][0]["instance_id"])
    client = hosts.server.client()
    until(lambda: show(client, instance_id).status != "CREATING", "the instance is not created")
    assert show(client, instance_id).status == "RUNNING", hosts.server.log()
    return instance_id


def test_instances_without_a_cluster_begin_with_the_data_of_a_backup(hosts: Hosts) -> None:
    """A single one on another host, whose agent makes the data. A primary/standby one where the server makes it: other
    zones are refused."""
    client = hosts.server.client()
    lone = {"spec_code": "redis.single.xu1.large.1"}
    first = created(client, 1, capacity=1, az_codes=["az2"], name="first", **lone)
    assert hosts.places(first) == {0: ["h2"]}
    with direct(client, first) as node:
        node.mset({f"key:{number}": "x" * 200 for number in range(KEYS)})
        node.set("temporary", "x", px=3_600_000)
    with direct(client, first, db=3) as node:
        node.set("of another database", "x")
    backup_id = requested(client, first)
    assert finished(client, first, backup_id).status == "succeed", hosts.server.log()

    single = created_from(hosts, backup_id, az_codes=["az3"], name="second", **lone)
    assert hosts.places(single) == {0: ["h3"]}
    pair = {"spec_code": "redis.ha.xu1.large.r2.1"}
    standby = created_from(hosts, backup_id, name="third", **pair)
    assert hosts.places(standby) == {0: ["local", "local"]}
    for instance_id in (single, standby):
        with direct(client, instance_id) as node:
            assert node.dbsize() == KEYS + 1
            assert 3_000_000 < int(node.pttl("temporary")) <= 3_600_000
            assert node.set("later", "x")
        with direct(client, instance_id, db=3) as node:
            assert node.get("of another database") == b"x"
    body = create_body(1, capacity=1, az_codes=["az2"], **pair).to_dict() | {"backup_id": backup_id}
    status, answer = hosts.server.call("POST", "instances", {name: value for name, value in body.items() if value})
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert leftovers(hosts) == []
    for instance_id in (first, single, standby):
        assert hosts.server.call("DELETE", f"instances/{instance_id}")[0] == 204


def test_a_backup_without_slots_is_divided_on_a_host_of_the_nodes(hosts: Hosts) -> None:
    """The agent is killed meanwhile. Then the new data is for nodes on all hosts, and half of it for the server's."""
    client = hosts.server.client()
    single = created(client, 1, capacity=1, az_codes=["az2"], spec_code="redis.single.xu1.large.1")
    with direct(client, single) as node:
        node.mset({f"key:{number}": "x" * 200 for number in range(KEYS)})
        node.set("temporary", "x", px=3_600_000)
    backup_id = requested(client, single)
    assert finished(client, single, backup_id).status == "succeed", hosts.server.log()

    body = create_body(2, az_codes=AWAY).to_dict() | {"backup_id": backup_id}
    status, answer = hosts.server.call("POST", "instances", {name: value for name, value in body.items() if value})
    assert status == 200, answer
    instance_id = str(answer["instances"][0]["instance_id"])
    agent = until(lambda: hosts.frozen_with("converters"), "no agent divides the backup")
    assert not list((hosts.server.data_dir / "converters").glob("[!.]*"))
    assert not list((hosts.server.data_dir / "spool").glob("*/*.rdb")), "the backup passes through the server"
    killed(agent)
    until(lambda: show(client, instance_id).status != "CREATING", "the instance is not created")
    assert show(client, instance_id).status == "RUNNING", hosts.server.log()
    caches = cache(client, instance_id)
    assert present(caches, KEYS) == KEYS
    assert 3_000_000 < caches.pttl("temporary") <= 3_600_000
    for zones in (["local", *AWAY], ["local", "az2"]):
        mixed = created(client, 2, copies=len(zones), az_codes=zones)
        switch_over(hosts, mixed, "h2")
        task_id = restore(hosts, mixed, backup_id)
        if len(zones) == len(hosts.agents) + 1:  # fewer than half of the nodes are on the host of the server
            hosts.kill_server_while_agent_has("converters")
        assert ended(client, mixed, task_id).status == "SUCCESS", hosts.server.log()
        assert present(cache(client, mixed), KEYS) == KEYS
    assert leftovers(hosts) == []
    names = asyncio.run(Storage.open(STORAGE).names(backup_id))
    assert not [name for name in names if "/divided-" in name]
    assert [path for machine in hosts.agents.values() for path in machine.processes_in("converters")] == []


def switch_over(hosts: Hosts, instance_id: str, host: str) -> None:
    """Make the replica of the first shard on a host the primary of that shard."""
    client = hosts.server.client()
    with psycopg.connect(hosts.url) as connection:
        query = "SELECT id FROM nodes WHERE instance_id = %s AND shard = 0 AND host_name = %s AND role = 'replica'"
        ((node_id,),) = connection.execute(query, [instance_id, host]).fetchall()
    groups = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id)).group_list
    (group,) = (one for one in groups if node_id in {node.node_id for node in one.replication_list})
    request = ExecuteClusterSwitchoverRequest(instance_id=instance_id, group_id=group.group_id, node_id=node_id)
    task_id = str(client.execute_cluster_switchover(request).job_id)
    assert ended(client, instance_id, task_id).status == "SUCCESS", hosts.server.log()


def direct(client: Any, instance_id: str, **options: Any) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(host=shown.ip, port=shown.port, password=PASSWORD, **options)


def snapshots(hosts: Hosts) -> list[Path]:
    """Snapshots that agents receive, with at least some bytes."""
    return [path for folder in kept(hosts, "snapshot-") for path in folder.glob("shard.rdb") if path.stat().st_size]


def killed(agent: AgentProcess) -> None:
    agent.kill()
    agent.start()


def test_a_killed_agent_receives_its_snapshot_again(hosts: Hosts) -> None:
    client = hosts.server.client()
    instance_id = created(client, 2, copies=2, az_codes=AWAY)
    caches = cache(client, instance_id)
    for number in range(1000):  # values that fill the buffers of a node after some keys
        caches.set(f"key:{number}", os.urandom(800).hex())
    nodes = [node for own in operators(hosts, instance_id).values() for node in own]
    for node in nodes:
        node.config_set("rdb-key-save-delay", SLOW)
    backup_id = requested(client, instance_id)
    (first, *_) = until(lambda: snapshots(hosts), "no agent receives a snapshot")
    assert first.stat().st_mode & 0o777 == 0o600
    assert first.parent.stat().st_mode & 0o777 == 0o700
    assert list((hosts.server.data_dir / "spool").glob("*/*.rdb")) == [], "a snapshot passes through the server"
    killed(next(agent for agent in hosts.agents.values() if agent.data_dir in first.parents))
    for node in nodes:
        node.config_set("rdb-key-save-delay", 0)
    done = finished(client, instance_id, backup_id)
    assert (done.status, done.error_code) == ("succeed", None), hosts.server.log()
    assert leftovers(hosts) == []

    caches.flushall()
    task_id = restore(hosts, instance_id, backup_id)
    until(lambda: kept(hosts, "fetched-", "restored-"), "no agent makes data")
    killed(hosts.agents["h2"])
    assert ended(client, instance_id, task_id).status == "SUCCESS", hosts.server.log()
    assert present(cache(client, instance_id), 1000) == 1000
    assert leftovers(hosts) == []


def test_a_restore_whose_host_goes_away_changes_nothing(hosts: Hosts) -> None:
    client = hosts.server.client()
    instance_id = created(client, 2, copies=2, az_codes=AWAY)
    load(cache(client, instance_id), KEYS)
    backup_id = requested(client, instance_id)
    assert finished(client, instance_id, backup_id).status == "succeed", hosts.server.log()
    cache(client, instance_id).set("later", "x")
    task_id = restore(hosts, instance_id, backup_id)
    until(lambda: kept(hosts, "restored-"), "no agent makes data")
    hosts.agents["h2"].kill()
    assert ended(client, instance_id, task_id).status == "FAILED", hosts.server.log()
    assert "DCS.9004" in str(progress(client, instance_id, task_id)), hosts.server.log()
    assert show(client, instance_id).status == "RUNNING"
    caches = cache(client, instance_id)
    assert (present(caches, KEYS), caches.exists("later")) == (KEYS, 1)
    hosts.agents["h2"].start()
    until(lambda: not leftovers(hosts), "files of the restore are left")
    assert ended(client, instance_id, restore(hosts, instance_id, backup_id)).status == "SUCCESS", hosts.server.log()
    assert cache(client, instance_id).exists("later") == 0
    _former_data_comes_back_with_the_agent(hosts, instance_id, backup_id)


def _former_data_comes_back_with_the_agent(hosts: Hosts, instance_id: str, backup_id: str) -> None:
    """An agent goes away while its node loads the data, and the server is killed while it waits for that agent."""
    client = hosts.server.client()
    cache(client, instance_id).set("later", "x")
    task_id = restore(hosts, instance_id, backup_id)
    until(lambda: has_former(hosts.agents["h2"]), "no data is exchanged")
    hosts.agents["h2"].kill()
    until(lambda: "waiting for host h2" in str(progress(client, instance_id, task_id)), "no wait is shown")
    hosts.server.kill()
    hosts.server.start()
    client = hosts.server.client()
    until(lambda: "waiting for host h2" in str(progress(client, instance_id, task_id)), "the wait does not go on")
    assert has_former(hosts.agents["h2"])
    assert show(client, instance_id).status == "RESTORING"
    assert hosts.server.call("PUT", f"instances/{instance_id}/nodes/status", {"action": "start"})[0] == 400
    hosts.agents["h2"].start()
    assert ended(client, instance_id, task_id).status == "FAILED", hosts.server.log()
    until(lambda: show(client, instance_id).status == "RUNNING", "incidents of the lost host do not end")
    caches = cache(client, instance_id)
    assert (present(caches, KEYS), caches.exists("later")) == (KEYS, 1)
    until(lambda: not leftovers(hosts), "files of the restore are left")


def has_former(agent: AgentProcess) -> bool:
    """Whether a node of the agent has exchanged its data."""
    return any((agent.data_dir / "nodes").glob("*/before-*"))


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"spec_code": "redis.ha.xu1.large.r2.1", "capacity": 1, "az_codes": AWAY}, id="ha"),
        pytest.param({**SINGLE, "az_codes": AWAY[:1]}, id="single"),
    ],
)
def test_instances_without_a_cluster_are_restored_on_other_hosts(hosts: Hosts, shape: dict[str, Any]) -> None:
    """The agent of the primary is killed while the primary loads."""
    client = hosts.server.client()
    instance_id = created(client, **shape)
    assert "local" not in hosts.places(instance_id)[0]
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, db=3) as inside:
        inside.mset({f"key:{number}": number for number in range(KEYS)})
        backup_id = requested(client, instance_id)
        assert finished(client, instance_id, backup_id).status == "succeed", hosts.server.log()
        inside.set("later", "x")
    task_id = restore(hosts, instance_id, backup_id)
    agent = until(lambda: next(filter(has_former, hosts.agents.values()), None), "no data is exchanged")
    killed(agent)
    assert ended(client, instance_id, task_id).status == "SUCCESS", hosts.server.log()
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, db=3) as inside:
        assert (inside.dbsize(), inside.exists("later"), inside.set("after", "x")) == (KEYS, 0, True)
    until(lambda: not leftovers(hosts), "files of the restore are left")


def test_agents_store_the_writes_of_their_primaries(hosts: Hosts) -> None:
    client = hosts.server.client()
    instance_id = created(client, 2, copies=2, az_codes=AWAY)
    caches = cache(client, instance_id)
    write_log(hosts.server, instance_id, 1)
    until(lambda: write_log(hosts.server, instance_id)["windows"], "nothing can be restored")
    fill(caches)
    second = int(time.time())
    time.sleep(max(0.0, second + 1.1 - time.time()))  # the moment is the end of a second
    killed(hosts.agents["h2"])
    caches.flushall()
    until(lambda: offered(hosts.server, instance_id, second), "the second cannot be restored")
    status, answer = past(hosts.server, instance_id, second)
    assert status == 200, answer
    agent = until(lambda: hosts.frozen_with("converters"), "no agent replays a log")
    assert not list((hosts.server.data_dir / "spool").glob("*/log-*")), "a log passes through the server"
    assert not list((hosts.server.data_dir / "converters").glob("*"))
    killed(agent)
    backup_id = str(answer["backup_id"])
    done = finished(client, instance_id, backup_id)
    assert (done.status, done.error_code) == ("succeed", None), hosts.server.log()
    again = str(past(hosts.server, instance_id, second)[1]["backup_id"])
    hosts.kill_server_while_agent_has("converters")
    assert finished(client, instance_id, again).status == "succeed", hosts.server.log()
    assert leftovers(hosts) == []
    assert [path for agent in hosts.agents.values() for path in agent.processes_in("converters")] == []
    assert len(kept(hosts, "write-log")) == 2
    keys = keys_of_logs(hosts, instance_id)
    assert len(keys) >= 2
    require_not_in_clear(hosts, SECRET, *keys)
    task_id = restore(hosts, instance_id, backup_id)
    assert ended(client, instance_id, task_id).status == "SUCCESS", hosts.server.log()
    assert present(cache(client, instance_id), KEYS) == KEYS
    write_log(hosts.server, instance_id, 0)
    until(lambda: not kept(hosts, "write-log"), "links are left")
