"""Migrations from outside, from real servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import (
    DeleteMigrateTaskRequest,
    DeleteMigrationTaskRequest,
    DeleteSingleInstanceRequest,
    ListMigrationTaskRequest,
    ShowMigrationTaskStatsRequest,
    StopMigrationTaskSyncRequest,
)
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from caches import FAULTS, cache
from migrating import (
    SINGLE,
    content,
    failed_migration,
    fill,
    imported,
    is_ready,
    log,
    migrate,
    migration,
    reaches,
    served,
)
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import OutsideServer, outside_cluster, outside_server, sentinel_of
from sdk_calls import PASSWORD, created, gone, progress, show
from serving import Server, until

_PAUSE_SECONDS = 0.005
"""Pause between two rounds of changes. A source that changes faster than a busy machine copies is never ready."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[OutsideServer]:
    with outside_server(tmp_path) as started:
        yield started


class Changes:
    """Changes keys of a server until it is stopped, in ways that a copy by commands would have to know."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> "Changes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE_SECONDS):
            number = self.rounds = self.rounds + 1
            with self._client.pipeline() as pipe:
                pipe.set(f"new:{number}", number)
                pipe.incr("counter")
                pipe.delete(f"key:{number}")
                pipe.rename("list", "renamed").rename("renamed", "list")
                pipe.set(f"short:{number}", 1, px=5)
                pipe.sunionstore("union", "set", "other")
                pipe.execute()
            self._client.eval("redis.call('hincrby', KEYS[1], ARGV[1], 1)", 1, "hash", "scripted")


def test_a_cluster_follows_a_server_until_the_cut_over(server: Server, client: Any, source: OutsideServer) -> None:
    target = created(client, shards=3)
    outside = source.client()
    fill(outside, 5000)
    with Changes(outside) as changes:
        migration_id = migrate(client, target, source.address, follow=True)
        shown = reaches(client, migration_id, "INCRMIGEATING")
        assert show(client, target).status == "MIGRATING"
        begun = changes.rounds
        until(lambda: changes.rounds > begun + 20, "the source is not changed")
        outside.client_kill_filter(_type="slave")
        until(lambda: is_ready(server, migration_id), "the migration is not ready")
    outside.xgroup_create("stream", "group", "0")
    outside.xreadgroup("group", "reader", {"stream": ">"})
    stats = client.show_migration_task_stats(ShowMigrationTaskStatsRequest(task_id=migration_id))
    assert stats.full_migration_progress == "100"
    assert stats.is_migrating
    assert server.call("POST", f"migration-task/{migration_id}/cut-over", {})[0] == 200
    reaches(client, migration_id, "SUCCESS")
    assert content(cache(client, target)) == content(outside)
    assert cache(client, target).xpending("stream", "group") == outside.xpending("stream", "group")
    assert show(client, target).status == "RUNNING"
    shown = progress(client, target, str(server.call("GET", f"migration-task/{migration_id}")[1]["background_task_id"]))
    assert shown.progress == 100
    assert not list((server.data_dir / "gateways").iterdir())
    (row,) = client.list_migration_task(ListMigrationTaskRequest(limit=1)).migration_tasks
    assert (row.task_id, row.target_instance_id, row.data_source) == (migration_id, target, source.address)
    assert SOURCE_PASSWORD not in server.log() + str(log(client, migration_id))


def test_killed_processes_and_deletions_in_the_gap(own_server: Server, tmp_path: Path) -> None:
    """A cluster migrates into a single instance. The server and a gateway are killed while it is followed."""
    client = own_server.client()
    target = created(client, **SINGLE)
    with outside_cluster(tmp_path) as (first, second):
        outside = ValkeyCluster(host="127.0.0.1", port=first.port, password=SOURCE_PASSWORD)
        for number in range(2000):
            outside.set(f"key:{number}", number)
        migration_id = migrate(client, target, second.address, follow=True)
        reaches(client, migration_id, "INCRMIGEATING")
        own_server.kill()
        for number in range(1000):
            outside.delete(f"key:{number}")
        own_server.start()
        client = own_server.client()
        until(lambda: is_ready(own_server, migration_id), "the migration is not ready after the kill of the server")
        gateways = {p.pid: p for p in own_server.nodes() if any("gateways" in word for word in p.info["cmdline"])}
        assert len(gateways) == 2
        assert SOURCE_PASSWORD not in str([process.cmdline() for process in gateways.values()])
        for path in own_server.data_dir.rglob("*"):
            with suppress(FileNotFoundError):  # a file of a node that was temporary
                assert not path.is_file() or SOURCE_PASSWORD.encode() not in path.read_bytes(), path
        for folder in (own_server.data_dir / "gateways").glob("[!.]*"):
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (folder / "valkey.conf").stat().st_mode & 0o777 == 0o600
        next(iter(gateways.values())).kill()
        for number in range(1000, 1500):
            outside.delete(f"key:{number}")
        outside.set("last", "write")
        own_server.call("POST", f"migration-task/{migration_id}/cut-over", {})
        reaches(client, migration_id, "SUCCESS")
        shown = show(client, target)
        inside = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
        assert inside.get("last") == b"write"
        assert inside.dbsize() == 501
        assert content(inside) == content(outside)
        # After the cut-over the instance is that of its clients.
        inside.set("own", "write")
        (refused,) = own_server.call("POST", "migration-tasks/batch-restart", {"migration_tasks": [migration_id]})[1][
            "migration_tasks"
        ]
        assert refused["error_code"] == "DCS.4957"
        assert inside.get("own") == b"write"
        inside.delete("own")
        # A migration that is stopped leaves the keys and no gateway; its record can be deleted then.
        migration_id = migrate(client, target, first.address, follow=True)
        reaches(client, migration_id, "INCRMIGEATING")
        assert own_server.call("DELETE", "migration-tasks/delete", {"task_id_list": [migration_id]})[0] == 400
        client.stop_migration_task_sync(StopMigrationTaskSyncRequest(task_id=migration_id))
        assert migration(client, migration_id).status == "TERMINATED"
        assert inside.dbsize() == 501
        assert not [p for p in own_server.nodes() if any("gateways" in word for word in p.info["cmdline"])]
        client.delete_migration_task(
            DeleteMigrationTaskRequest(body=DeleteMigrateTaskRequest(task_id_list=[migration_id]))
        )
        assert own_server.call("GET", f"migration-task/{migration_id}")[1]["error_code"] == "DCS.4133"
        _import_while_the_server_is_killed(own_server, target, inside, first)


def _import_while_the_server_is_killed(server: Server, target: str, inside: Any, source: OutsideServer) -> None:
    inside.flushall()
    source.client().save()
    with served(source.folder) as url:
        migration_id = imported(server.client(), target, urls=(f"{url}/dump.rdb",))
        server.kill()
        server.start()
        reaches(server.client(), migration_id, "SUCCESS")
    assert inside.dbsize() == source.client().dbsize() > 0


def test_sources_behind_sentinel_and_refused_sources(server: Server, client: Any, tmp_path: Path) -> None:
    target = created(client, **SINGLE)
    with (
        outside_server(tmp_path) as primary,
        outside_server(tmp_path, "--replicaof", "127.0.0.1", str(primary.port)) as replica,
        sentinel_of(tmp_path, primary) as sentinel,
    ):
        fill(primary.client(), 500)
        wrong = migrate(client, target, primary.address, follow=False, password="Wrong-password-1")
        failed = reaches(client, wrong, "FAILED")
        (message,) = log(client, wrong)
        assert "WRONGPASS" in message
        assert "Wrong-password-1" not in str(failed) + message + server.log()
        assert (
            "name the primary"
            in log(client, failed_migration(client, migrate(client, target, replica.address, follow=False)))[0]
        )
        nowhere = migrate(client, target, "127.0.0.1:1", follow=False)
        assert "cannot be reached" in log(client, failed_migration(client, nowhere))[0]
        full = migrate(client, target, primary.address, follow=False)
        reaches(client, full, "SUCCESS")
        shown = show(client, target)
        inside = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
        assert content(inside) == content(primary.client())

        with outside_server(tmp_path, "--rename-command", "PSYNC", "") as closed:
            closed.client().set("direct", "copy", ex=1000)
            refused = failed_migration(client, migrate(client, target, closed.address, follow=True))
            assert "has no command PSYNC" in log(client, refused)[0]
            reaches(client, migrate(client, target, closed.address, follow=False), "SUCCESS")
        assert inside.get("direct") == b"copy"
        assert 0 < inside.ttl("direct") <= 1000
        inside.flushall()

        migration_id = migrate(client, target, sentinel.address, follow=True)
        reaches(client, migration_id, "INCRMIGEATING")
        until(lambda: sentinel.client().sentinel_slaves("outside"), "the sentinel does not know the replica")
        primary.kill()
        # Sentinel closes connections of the node that it promotes.
        until(lambda: tried(lambda: replica.client().role()[0] == b"master"), "the replica is not the primary")
        until(lambda: tried(lambda: replica.client().set("after", "failover")), "the new primary takes no writes")
        until(lambda: inside.get("after") == b"failover", "the write to the new primary does not arrive")
        server.call("POST", f"migration-task/{migration_id}/cut-over", {})
        reaches(client, migration_id, "SUCCESS")
        assert content(inside) == content(replica.client())

        migration_id = migrate(client, target, replica.address, follow=True)
        reaches(client, migration_id, "INCRMIGEATING")
        client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=target))
        until(lambda: gone(client, target), "the instance is not deleted")
        until(lambda: not list((server.data_dir / "gateways").glob("[!.]*")), "gateways are left")
        assert migration(client, migration_id).status == "TERMINATED"


def tried(act: Callable[[], Any]) -> Any:
    """The result of a request to a server whose role changes, False if it is not answered."""
    try:
        return act()
    except FAULTS:
        return False
