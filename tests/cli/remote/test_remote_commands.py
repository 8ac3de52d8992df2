"""`cachewright instances`, `tasks`, `plan` and `profiles`, typed at a real server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from valkey import Valkey

from caches import cache, load, present
from cachewright.cli.remote.following import newest_task
from cachewright.client.account import read
from cachewright.client.http import ApiClient
from cachewright.hosts.programs import find_haproxy
from sdk_calls import PASSWORD, backed_up, created, ended, resize, show, spec, window
from serving import Server

CACHEWRIGHT = (sys.executable, "-m", "cachewright")
KEYS = 20_000
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    def type_it(*words: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "CACHEWRIGHT_DATA_DIR": str(server.data_dir)}
        command = [*CACHEWRIGHT, *words]
        env = {name: value for name, value in (env | environment).items() if value}
        return subprocess.run(
            command, input=typed, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=tmp_path
        )

    return type_it


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def ask(*words: str, typed: str = "") -> Any:
        ran = run(*words, "--json", typed=typed)
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)

    return ask


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
    assert told("plan", "resize", "typed", "--shards", "3")["shards_after"] == 3
    assert show(client, instance_id).sharding_count == 2, "a plan touches nothing"

    lines = run("instances", "resize", "typed", "--shards", "3", "--wait", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    percents = [event["progress"]["progress"] for event in events]
    assert percents == sorted(percents)
    assert (events[-1]["status"], percents[-1]) == ("SUCCESS", 100)
    assert show(client, instance_id).sharding_count == 3
    assert present(caches, KEYS) == KEYS

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


def held_resize(server: Server, client: Any, instance_id: str, shards: int) -> str:
    """A task that is paused before it can have moved anything."""
    task_id = resize(client, instance_id, shards)
    assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "paused"})[0] == 200
    return task_id


def test_a_task_is_paused_cancelled_tried_again_and_resumed(server: Server, client: Any, run: Run) -> None:
    instance_id = created(client, 1)
    task_id = held_resize(server, client, instance_id, 2)
    assert run("tasks", "pause", task_id).returncode == 0
    assert '"state": "paused"' in run("tasks", "show", task_id, "--json").stdout
    assert run("tasks", "cancel", task_id).returncode == 0
    watched = run("tasks", "watch", task_id)
    assert watched.returncode == 1
    assert "FAILED: DCS.9005" in watched.stdout
    assert watched.stderr == "cachewright: a task has failed\n"
    assert run("tasks", "retry", task_id).returncode == 0
    assert run("tasks", "watch", task_id).returncode == 0

    held = held_resize(server, client, instance_id, 3)
    assert run("tasks", "resume", held, "--parallel", "1", "--priority", "speed").returncode == 0
    asked = json.loads(run("tasks", "show", held, "--json").stdout)["control"]
    assert asked == {"state": "running", "parallel": 1, "latency_ceiling_ms": None, "mode": "fastest"}
    assert run("tasks", "watch").returncode == 0
    assert show(client, instance_id).sharding_count == 3


def test_limits_of_a_task_survive_pause_and_resume(
    server: Server, client: Any, run: Run, told: Callable[..., Any]
) -> None:
    instance_id = created(client, 1)
    task_id = resize(client, instance_id, 2)
    path = f"instances/{instance_id}/tasks/{task_id}"
    limits = {"parallel": 1, "latency_ceiling_ms": 0.000001, "mode": "balanced"}
    assert server.call("PUT", f"{path}/control", limits)[0] == 200
    assert told("tasks", "pause", task_id)["control"] == limits | {"state": "paused"}
    assert told("tasks", "resume", task_id)["control"] == limits | {"state": "running"}
    changed = limits | {"parallel": 2, "mode": "gentle"}
    assert told("tasks", "resume", task_id, "--parallel", "2", "--mode", "gentle")["control"] == changed | {
        "state": "running"
    }
    assert told("tasks", "resume", task_id, "--mode", "balanced")["control"]["mode"] == "balanced"
    free = {"state": "running", "parallel": 3, "latency_ceiling_ms": None, "mode": "balanced"}
    assert told("tasks", "pause", task_id)["control"]["latency_ceiling_ms"] == 0.000001
    assert told("tasks", "resume", task_id, "--reset", "--parallel", "3")["control"] == free
    assert ended(client, instance_id, task_id).status == "SUCCESS"


def test_templates_are_made_changed_and_deleted(run: Run, told: Callable[..., Any]) -> None:
    made = run("templates", "create", "typed-one", "--from", "redis-7.0-single", "timeout=300")
    assert (made.returncode, made.stderr) == (0, "")
    template_id = made.stdout.split()[1]
    assert run("templates", "set", "typed-one", "maxmemory-policy=allkeys-lru").returncode == 0
    shown = run("templates", "show", "typed-one").stdout
    assert {"timeout", "300", "allkeys-lru"} <= set(shown.split())
    assert told("templates", "show", template_id)["cache_mode"] == "single"
    assert "typed-one" in run("templates", "list").stdout
    wrong = run("templates", "create", "typed-two", "timeout=x")
    assert (wrong.returncode, "DCS.4066" in wrong.stderr) == (3, True)
    assert run("templates", "delete", "typed-one").returncode == 0
    assert run("templates", "show", "typed-one").returncode == 2


def test_migrations_are_started_shown_and_deleted(client: Any, run: Run, told: Callable[..., Any]) -> None:
    created(client, 1, name="typed-target")
    words = ("migrations", "start", "typed-move", "--from", "127.0.0.1:1", "--to", "typed-target", "--no-password")
    failed = run(*words, "--method", "full", "--wait")
    assert failed.returncode == 1
    assert "cannot be reached" in failed.stdout
    assert "typed-move" in run("migrations", "list").stdout
    shown = run("migrations", "show", "typed-move").stdout
    assert "FAILED" in shown
    assert "127.0.0.1:1" in shown
    assert "cannot be reached" in run("migrations", "log", "typed-move").stdout
    assert run("migrations", "set", "typed-move", "--resume", "manual").returncode == 0
    assert told("migrations", "show", "typed-move")["resume_mode"] == "manual"
    for action in ("stop", "cut-over"):
        refused = run("migrations", action, "typed-move")
        assert (refused.returncode, "DCS.4957" in refused.stderr) == (3, True)
    assert run("migrations", "restart", "typed-move", "--wait").returncode == 1
    assert "--tls-any-host needs --tls-ca" in run(*words, "--tls", "--tls-any-host").stderr
    wrong = run(*words[:4], "nowhere", *words[5:])
    assert (wrong.returncode, "DCS.4062" in wrong.stderr) == (3, True)
    assert run("migrations", "delete", "typed-move").returncode == 0
    assert run("migrations", "show", "typed-move").returncode == 2


def test_parameters_are_listed_and_changed(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="typed-parameters")
    listed = run("instances", "parameters", "typed-parameters")
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["maxclients", "10000", "10000", "1000-50000"] in rows
    assert len(told("instances", "parameters", instance_id)["redis_config"]) == len(rows) - 1

    words = ("instances", "parameters", "set", "typed-parameters", "timeout=300", "maxmemory-policy=allkeys-lru")
    changed = run(*words, "--wait")
    assert (changed.returncode, changed.stderr) == (0, "")
    assert changed.stdout.splitlines()[-1].endswith("SUCCESS")
    rows = [line.split()[:3] for line in run("instances", "parameters", instance_id).stdout.splitlines()]
    assert ["timeout", "300", "0"] in rows
    assert ["maxmemory-policy", "allkeys-lru", "noeviction"] in rows

    for wrong, code, said in (
        (("timeout=9999",), 3, "DCS.4066"),
        (("appendonly=no",), 3, "DCS.4066"),
        (("requirepass=x",), 2, "unknown parameter requirepass"),
        (("timeout",), 2, "is not NAME=VALUE"),
        (("timeout=1", "timeout=2"), 2, "twice"),
        ((), 2, "NAME=VALUE"),
    ):
        ran = run("instances", "parameters", "set", "typed-parameters", *wrong)
        assert ran.returncode == code, ran.stderr
        assert said in ran.stderr
    emptied = run("instances", "parameters", "set", instance_id, "notify-keyspace-events=", "--json")
    assert set(json.loads(emptied.stdout)) == {"job_id"}
    assert run("instances", "delete", instance_id, "--yes", "--wait").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("instances", "show", "nobody-of-this-name"), 1, "there is no instance"),
        (("instances", "show", "00000000-0000-4000-8000-000000000000"), 3, "DCS.3022"),
        (("instances", "create", "x!", "--no-password"), 3, "DCS.4010"),
        (("instances", "create", "cache", "--spec", "redis.nothing", "--no-password"), 2, "is not a spec code"),
        (("instances", "create", "cache", "--shards", "0"), 2, "Must be >= 1"),
        (("tasks", "show", "0" * 32), 3, "DCS.4958"),
        (("tasks", "watch", "0" * 32), 3, "DCS.4958"),
        (("tasks", "cancel", "x"), 3, "DCS.4070"),
        (("instances", "list", "--endpoint", "http://127.0.0.1:1"), 4, "no response from"),
        (("instances", "list", "--endpoint", "not a url"), 4, "not a url"),
        (("instances", "list", "--project-id", "0" * 32), 3, "DCS.1004"),
        (("instances", "list", "--profile", "nobody"), 2, "unknown profile"),
        (("instances", "list", "--data-dir", "/nowhere"), 2, "cannot read /nowhere"),
        (("profiles", "add", "a/b", "--from", "/nowhere"), 2, "cannot read /nowhere"),
        (("instances", "explode"), 2, "explode"),
        (("instances", "parameters", "nobody-of-this-name"), 1, "there is no instance"),
        (("plan", "resize"), 2, "requires an argument"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_exit_code(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ran = run(*words)
    assert (ran.returncode, ran.stdout if code != 2 else "") == (code, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_profile_is_added_used_and_removed(server: Server, run: Run, tmp_path: Path) -> None:
    nothing = {"CACHEWRIGHT_DATA_DIR": ""}
    assert run("instances", "list", **nothing).returncode == 2
    added = run("profiles", "add", "home", "--from", str(server.data_dir / "credentials.json"), **nothing)
    assert (added.returncode, added.stderr) == (0, "")
    listed = run("profiles", "list", **nothing).stdout
    assert "home" in listed
    assert server.credentials["secret_key"] not in listed
    assert run("instances", "list", **nothing).returncode == 0
    assert run("profiles", "remove", "home", **nothing).returncode == 0
    assert run("instances", "list", **nothing).returncode == 2


def test_the_sdks_environment_is_understood(server: Server, run: Run) -> None:
    known = server.credentials
    ran = run(
        "instances",
        "list",
        CACHEWRIGHT_DATA_DIR="",
        HUAWEICLOUD_SDK_AK=known["access_key"],
        HUAWEICLOUD_SDK_SK=known["secret_key"],
        HUAWEICLOUD_SDK_PROJECT_ID=known["project_id"],
        HUAWEICLOUD_SDK_REGION_DCS_LOCAL=known["endpoint"],
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("instances",),
        ("instances", "create"),
        ("instances", "parameters"),
        ("instances", "parameters", "set"),
        ("tasks", "watch"),
        ("plan", "resize"),
        ("users", "grant"),
    ],
)
def test_help_says_what_there_is(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words, "--help")
    assert ran.returncode == 0
    assert "Usage: cachewright" in ran.stdout


def test_accounts_are_created_changed_and_deleted(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="guarded")
    words = ("instances", "accounts")
    made = run(*words, "create", "guarded", "reports", "--role", "read", "--password-stdin", "--wait", typed=PASSWORD)
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout
    assert run(*words, "set-role", "guarded", "reports", "write", "--wait").returncode == 0
    assert run(*words, "describe", "guarded", "reports", "of the shop").returncode == 0
    new = "New-password-2"
    for account in ("reports", "default"):
        changed = run(*words, "set-password", "guarded", account, "--password-stdin", "--wait", typed=new)
        assert changed.returncode == 0, changed.stderr
    shown = show(client, instance_id)
    for user in ("reports", "default"):
        with Valkey(host=shown.ip, port=shown.port, username=user, password=new) as node:
            assert node.ping()
    assert run(*words, "disable-commands", "guarded", "keys", "--wait").returncode == 0
    listed = told(*words, "guarded")
    assert listed["disabled_commands"] == ["keys"]
    assert [(one["account_name"], one["account_role"], one["description"]) for one in listed["accounts"]] == [
        ("default", "write", ""),
        ("reports", "write", "of the shop"),
    ]
    table = run(*words, "guarded").stdout
    assert "reports" in table
    assert "Disabled commands: keys" in table
    assert run(*words, "delete", "guarded", "reports", "--wait").returncode == 0
    missing = run(*words, "delete", "guarded", "reports")
    assert (missing.returncode, "there is no account" in missing.stderr) == (1, True)
    assert run(*words, "set-password", "guarded", "reports", "--no-password").returncode != 0
    assert run(*words, "set-password", "guarded", "--no-password", "--wait").returncode == 0
    assert show(client, instance_id).no_password_access == "true"


def test_keys_slow_commands_and_clients_are_shown(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="looked-into")
    words = ("instances", "diagnosis")
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, client_name="app") as app:
        app.rpush("basket", *range(300))
        app.eval("local began = os.clock() while os.clock() - began < 0.02 do end", 0)
        nothing = run(*words, "keys", "looked-into")
        assert (nothing.returncode, "has no analysis" in nothing.stderr) == (1, True)
        analysed = run(*words, "analyse", "looked-into", "--wait")
        assert analysed.returncode == 0, analysed.stderr
        assert "basket" in run(*words, "keys", "looked-into").stdout
        assert "os.clock" in run(*words, "slow-log", "looked-into", "--sort", "duration").stdout
        (connection,) = [one for one in told(*words, "clients", "looked-into")["clients"] if one["name"] == "app"]
        assert run(*words, "close-clients", "looked-into", connection["addr"]).returncode == 0
        assert run(*words, "close-clients", "looked-into", "--all", "--wait").returncode == 0
        assert str(app.client_id()) != connection["id"]
    assert run(*words, "close-clients", "looked-into").returncode == 2
    assert run(*words, "schedule", "looked-into", "--at", "03:00", "--at", "22:30").stdout == "03:00, 22:30\n"
    assert run(*words, "schedule", "looked-into", "--off").stdout == "off\n"
    refused = run(*words, "analyse", "looked-into", "hot")
    assert (refused.returncode, "DCS.4919" in refused.stderr) == (3, True)
