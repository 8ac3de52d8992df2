"""A task of an earlier release, which was killed in the middle of it, completes under this one; its nodes are adopted.

`tests/releases/` holds the database of each release, taken after a kill in the middle of a scale from two shards to
three: one of two slot ranges had moved, the other was in progress. The test creates the nodes that the database
describes, on free ports.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import NoPermissionError

from caches import cache, states
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.instances import Node
from cachewright.store.rows import from_row
from cachewright.valkey.roles import ROLES
from cachewright.valkey.slots import SlotRange
from sdk_calls import PASSWORD, ended, newest_task, progress, show
from serving import Server, until

RELEASES = Path(__file__).parent.parent / "releases"
OWNED = (SlotRange(0, 5461), SlotRange(8192, 16383), SlotRange(5462, 8191))
"""By shard, as the kill left them."""


@pytest.fixture(params=["0.1.0", "0.2.0.dev0"])
async def old(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.data_dir.mkdir(mode=0o700)
    release = RELEASES / f"{request.param}.sql"
    if (key := RELEASES / f"{request.param}.key").exists():
        shutil.copy(key, server.data_dir / "secret.key")
    path = server.data_dir / "cachewright.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(release.read_text())
        ports = free_ports("127.0.0.1", (10240, 30000), set())
        for (node_id,) in database.execute("SELECT id FROM nodes").fetchall():
            database.execute("UPDATE nodes SET port=?, bus_port=? WHERE id=?", [next(ports), next(ports), node_id])
        database.execute("UPDATE instances SET seed_port=(SELECT min(port) FROM nodes WHERE shard=0)")
        database.commit()
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM nodes ORDER BY shard").fetchall()
    nodes = [from_row(Node, {**row, "role": ROLES[row["role"]], "should_run": row["wanted"]}) for row in rows]
    host = LocalHost(Settings(data_dir=server.data_dir))
    owned = {node.id: part for node, part in zip(nodes, OWNED, strict=True)}
    try:
        for node in nodes:
            conf, known = old_conf(node), known_cluster(node, nodes, owned)
            await host.write_files(node.id, {"valkey.conf": conf, "nodes.conf": known})
            await host.start(node.id)
        yield server
    finally:
        server.clean_up()


def test_a_scale_that_an_earlier_release_began_ends(old: Server) -> None:
    with closing(sqlite3.connect(old.data_dir / "cachewright.db")) as database:
        seed = database.execute("SELECT seed_port FROM instances").fetchone()[0]
        task_id, instance_id, percent, steps = database.execute(
            "SELECT id, instance_id, percent, steps FROM tasks WHERE status='EXECUTING'"
        ).fetchone()
    caches = until(lambda: ready(seed), "the cluster does not form")
    pipeline = caches.pipeline()
    for number in range(20_000):
        pipeline.set(f"key:{number}", number)
    pipeline.execute()
    connected = Valkey(host="127.0.0.1", port=seed, password=PASSWORD, single_connection_client=True)
    connection_id = connected.client_id()
    old.start()
    client = old.client()
    assert progress(client, instance_id, task_id).progress >= percent
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    final = progress(client, instance_id, task_id)
    assert [step.step_id for step in final.step_details] == [step["id"] for step in json.loads(steps)]
    assert newest_task(client, instance_id).id == task_id
    assert show(client, instance_id).sharding_count == 3
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert sum(caches.exists(*(f"key:{n}" for n in range(s, s + 1000))) for s in range(0, 20_000, 1000)) == 20_000
    assert connected.client_id() == connection_id, "a client has lost its connection"
    require_restricted(connected)
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    restart_id = newest_task(client, instance_id).id
    assert ended(client, instance_id, restart_id, seconds=120).status == "SUCCESS"
    with closing(sqlite3.connect(old.data_dir / "cachewright.db")) as database:
        assert {row[0] for row in database.execute("SELECT access FROM nodes")} == {"socket"}
    assert "restart the instance" in old.log()
    require_restricted(Valkey(host="127.0.0.1", port=show(client, instance_id).port, password=PASSWORD))


def require_restricted(node: Valkey) -> None:
    with pytest.raises(NoPermissionError):
        node.config_get("maxmemory")
    with pytest.raises(NoPermissionError):
        node.execute_command("CLUSTER RESET")


def old_conf(node: Node) -> str:
    """A valkey.conf of that release: one user with all rights, no socket."""
    return f"""
bind {node.host}
port {node.port}
cluster-port {node.bus_port}
daemonize yes
pidfile valkey.pid
logfile valkey.log
set-proc-title no
maxmemory {node.maxmemory}
appendonly yes
save ""
cluster-enabled yes
cluster-node-timeout 5000
cluster-require-full-coverage no
cluster-allow-replica-migration no
cluster-slot-stats-enabled yes
requirepass "{PASSWORD}"
primaryauth "{PASSWORD}"
"""


def known_cluster(myself: Node, nodes: list[Node], owned: dict[str, SlotRange]) -> str:
    """A nodes.conf of that release: masters that know each other, each with its slots and an epoch of its own."""
    lines = []
    for epoch, node in enumerate(nodes, start=1):
        address = f"{node.host}:{node.port}@{node.bus_port},,tls-port=0,shard-id={node.id}"
        flags, part = "myself," * (node is myself) + "master", owned[node.id]
        lines.append(f"{node.id} {address} {flags} - 0 0 {epoch} connected {part.first}-{part.last}")
    return "\n".join([*lines, f"vars currentEpoch {len(nodes)} lastVoteEpoch 0", ""])


def ready(port: int) -> ValkeyCluster | None:
    try:
        caches = ValkeyCluster(host="127.0.0.1", port=port, password=PASSWORD)
        return caches if states(caches) == {"ok"} and caches.set("probe", 1) else None
    except Exception:  # whatever the client makes of nodes that are starting
        return None
