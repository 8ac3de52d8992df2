"""`cachewright instances create`, `show`, `resize` and `delete`, and `plan`, typed at a real server."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from caches import cache, load, present
from cachewright.cli.remote.following import newest_task
from cachewright.client.account import read
from cachewright.client.http import ApiClient
from cachewright.hosts.programs import find_haproxy
from commands import Run
from sdk_calls import PASSWORD, backed_up, show, spec, window
from serving import Server

KEYS = 20_000


def test_a_cluster_is_made_planned_resized_and_deleted(
    server: Server, client: Any, run: Run, told: Callable[..., Any]
) -> None:
    made = run("instances", "create", "typed", "--shards", "2", "--password-stdin", "--wait", typed=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    assert "100 %" in made.stdout
    assert made.stdout.splitlines()[-1].endswith("SUCCESS")
    (instance,) = [one for one in told("instances", "list")["instances"] if one["name"] == "typed"]
    instance_id = instance["instance_id"]
    assert (instance["status"], instance["spec_code"]) == ("RUNNING", spec(2))
    caches = cache(client, instance_id)
    load(caches, KEYS)

    assert "typed" in run("instances", "list").stdout
    shown = run("instances", "show", "typed").stdout
    assert instance_id in shown
    assert shown.count("primary") == 2
    addresses = {f"{node.host}:{node.port}" for node in caches.get_nodes()}
    assert len(addresses) == 2
    assert addresses <= set(shown.split())
    assert told("instances", "show", instance_id)["instance_id"] == instance_id

    planned = run("plan", "resize", "typed", "--shards", "3")
    assert planned.returncode == 0
    assert "2 to 3 shards" in planned.stdout
    assert "No client is connected now." not in planned.stdout
    caches.close()
    assert "No client is connected now." in run("plan", "resize", "typed", "--shards", "3").stdout
    assert told("plan", "resize", "typed", "--shards", "3")["shards_after"] == 3
    assert show(client, instance_id).sharding_count == 2, "a plan touches nothing"

    lines = run("instances", "resize", "typed", "--shards", "3", "--wait", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    percents = [event["progress"]["progress"] for event in events]
    assert percents == sorted(percents)
    assert (events[-1]["status"], percents[-1]) == ("SUCCESS", 100)
    assert show(client, instance_id).sharding_count == 3
    assert present(cache(client, instance_id), KEYS) == KEYS

    planned = run("plan", "resize", "typed", "--replicas", "1")
    assert (planned.returncode, "0 to 1 replicas per shard" in planned.stdout) == (0, True)
    mixed = run("instances", "resize", "typed", "--replicas", "1", "--shards", "4")
    assert (mixed.returncode, "separate requests" in mixed.stderr) == (3, True)

    task_id = events[-1]["task_id"]
    assert "Slot migration." in run("tasks", "show", task_id).stdout
    assert told("tasks", "show", task_id)["instance_id"] == instance_id
    assert task_id in run("tasks", "list", "--instance", "typed").stdout
    assert told("tasks", "list")["tasks"][0]["id"] == task_id
    watched = run("tasks", "watch", task_id)
    assert (watched.returncode, watched.stdout.splitlines()[-1]) == (0, f"EXTEND {task_id} SUCCESS")

    kept = run("instances", "delete", "typed", typed="no\n")
    assert (kept.returncode, "nothing was deleted" in kept.stderr) == (1, True)
    gone = run("instances", "delete", "typed", "--wait", typed="typed\n")
    assert gone.returncode == 0, gone.stderr
    assert run("instances", "show", instance_id).returncode == 3
    deletion = newest_task(ApiClient(read(server.data_dir / "credentials.json")), instance_id)
    assert told("tasks", "show", deletion)["task"]["name"] == "DeleteInstance", "found although the instance is deleted"


def test_an_ha_instance_is_made_and_deleted(server: Server, client: Any, run: Run) -> None:
    sizes = ("--type", "ha", "--replicas", "2", "--memory-gb", "0.5")
    made = run("instances", "create", "pair", *sizes, "--no-password", "--wait")
    assert made.returncode == 0, made.stderr
    shown = run("instances", "show", "pair").stdout
    assert "redis.ha.xu1.tiny.r3.512" in shown
    assert shown.count("replica ") == 2
    assert "to redis.ha.xu1.large.r3.1" in run("plan", "resize", "pair", "--memory-gb", "1").stdout
    if find_haproxy():
        assert run("instances", "tls", "pair", "on", "--wait").returncode == 0
        assert "tls          on" in run("instances", "tls", "pair").stdout
        assert run("instances", "certificate", "pair").stdout.startswith("-----BEGIN CERTIFICATE-----")
        allowed = ("--allow", "127.0.0.2", "--allow", "10.0.0.0/8", "--wait")
        assert run("instances", "whitelist", "pair", *allowed).returncode == 0
        assert "127.0.0.2, 10.0.0.0/8" in run("instances", "whitelist", "pair").stdout
        assert run("instances", "whitelist", "pair", "--off").returncode == 0
    assert run("instances", "delete", "pair", "--yes", "--wait").returncode == 0


def test_a_single_instance_is_made_resized_restored_and_deleted(
    server: Server, client: Any, run: Run, told: Callable[..., Any]
) -> None:
    made = run(
        "instances", "create", "lone", "--type", "single", "--memory-gb", "0.5", "--no-password", "--wait"
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    listed = next(line for line in run("instances", "list").stdout.splitlines() if line.startswith("lone"))
    assert {"single", "512"} <= set(listed.split())
    assert "redis.single.xu1.tiny.512" in run("instances", "show", "lone").stdout

    planned = run("plan", "resize", "lone", "--memory-gb", "1")
    assert planned.returncode == 0
    assert "redis.single.xu1.tiny.512 to redis.single.xu1.large.1" in planned.stdout
    resized = run("instances", "resize", "lone", "--memory-gb", "1", "--wait")
    assert resized.returncode == 0, resized.stderr
    assert "redis.single.xu1.large.1" in run("instances", "show", "lone").stdout
    assert run("instances", "restart", "lone", "--wait").returncode == 0
    instance_id = told("instances", "show", "lone")["instance_id"]
    assert server.call("PUT", f"instances/{instance_id}", window(6))[0] == 204
    assert run("instances", "resize", "lone", "--memory-gb", "2", "--in-maintenance-window").returncode == 0
    waiting = told("tasks", "list", "--instance", "lone")["tasks"][0]["id"]
    assert "the maintenance window" in run("tasks", "show", waiting).stdout
    assert run("tasks", "cancel", waiting).returncode == 0
    assert "nothing was flushed" in run("instances", "flush", "lone", typed="no\n").stderr
    assert run("instances", "flush", "lone", "--yes", "--wait").returncode == 0
    backup_id = backed_up(client, instance_id)
    restored = run("backups", "restore", backup_id, "lone", "--no-safety-backup", "--wait")
    assert restored.returncode == 0, restored.stderr
    assert backup_id in run("backups", "restores", "lone").stdout
    imported = run("migrations", "import", "again", "--to", "lone", "--backup", backup_id, "--wait")
    assert imported.returncode == 0, imported.stderr
    assert backup_id in run("migrations", "show", "again").stdout
    signed = run("migrations", "import", "signed", "--to", "lone", "--url", "https://bucket/dump.rdb?sign=secret")
    assert "--urls-stdin" in signed.stderr
    copied = run("instances", "create", "copy", "--shards", "1", "--from-backup", backup_id, "--no-password", "--wait")
    assert copied.returncode == 0, copied.stderr
    assert run("instances", "delete", "copy", "--yes", "--wait").returncode == 0
    stopped = run("instances", "nodes", "stop", "lone", "--wait")
    assert stopped.returncode == 0, stopped.stderr
    assert run("instances", "nodes", "start", "lone", "--wait").returncode == 0
    assert run("instances", "delete", "lone", "--yes", "--wait").returncode == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("create", "lone", "--type", "single", "--shards", "2"), "has no shards"),
        (
            ("create", "lone", "--type", "single", "--memory-gb", "3"),
            "0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 24, 32, 48, 64",
        ),
        (("create", "lone", "--memory-gb", "1"), "for single and ha instances"),
        (("create", "pair", "--type", "ha", "--shards", "2"), "has no shards"),
        (("create", "pair", "--type", "ha", "--replicas", "0"), "1 to 5 replicas"),
    ],
)
def test_sizes_of_the_other_type_are_refused(run: Run, words: tuple[str, ...], complaint: str) -> None:
    ran = run("instances", *words, "--no-password")
    assert ran.returncode == 2
    assert complaint in " ".join(ran.stderr.split())
