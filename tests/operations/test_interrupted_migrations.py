"""A migration whose server, gateway, source link and node are killed in each of its phases."""

import os
from pathlib import Path
from typing import Any

import psutil

from caches import cache, serves
from migrating import content, is_ready, reaches
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import OutsideServer, outside_server
from sdk_calls import created, newest_task, progress
from serving import Server, until

KEYS, BYTES = 2000, 1000
SLOW = 5000
"""Microseconds for which the source pauses after each key of its snapshot (`rdb-key-save-delay`)."""


def started(server: Server, target: str, source: OutsideServer) -> str:
    """Start a migration that copies a megabyte a second."""
    body = {
        "task_name": "move",
        "migration_type": "online_migration",
        "migration_method": "incremental_migration",
        "source_instance": {"addrs": source.address, "password": SOURCE_PASSWORD},
        "target_instance": {"id": target},
        "bandwidth_limit_mb": "1",
    }
    status, answer = server.call("POST", "migration-task", body)
    assert status == 200, answer
    return str(answer["id"])


def detail(server: Server, target: str, task_id: str, name: str) -> str:
    """The detail of a step that executes; empty otherwise."""
    steps = progress(server.client(), target, task_id).step_details
    found = [step for step in steps if step.step_name == name and step.step_status == "EXECUTING"]
    return " ".join(sub.detail or "" for step in found for sub in step.sub_step_details or [])


def copies(server: Server, target: str, task_id: str) -> bool:
    """Whether some keys are copied, and not all of them."""
    found = detail(server, target, task_id, "Full migration.")
    return "keys_copied:" in found and "keys_copied:0}" not in found


def gateway_of(server: Server) -> psutil.Process | None:
    found = [process for process in server.nodes() if any("gateways" in word for word in process.info["cmdline"])]
    return found[0] if found else None


def test_kills_in_each_phase_of_a_migration(own_server: Server, tmp_path: Path) -> None:
    target = created(own_server.client(), 1)
    with outside_server(tmp_path) as source:
        outside: Any = source.client()
        outside.mset({f"key:{number}": os.urandom(BYTES) for number in range(KEYS)})
        outside.config_set("rdb-key-save-delay", SLOW)
        migration_id = started(own_server, target, source)
        task_id = newest_task(own_server.client(), target).id
        until(
            lambda: "received_bytes:" in detail(own_server, target, task_id, "Source synchronization."), "no snapshot"
        )
        own_server.kill()
        gateway = gateway_of(own_server)
        assert gateway is not None
        gateway.kill()
        outside.config_set("rdb-key-save-delay", 0)
        own_server.start()

        until(lambda: copies(own_server, target, task_id), "no key is copied")
        own_server.kill()
        outside.delete("key:0")
        own_server.start()
        for strike in (lambda: gateway_of(own_server), lambda: node_of(own_server)):
            until(lambda: copies(own_server, target, task_id), "no key is copied after a kill")
            process = until(strike, "the process does not run")
            outside.set(f"after:{process.pid}", "a kill")
            process.kill()
        until(lambda: is_ready(own_server, migration_id), "the migration is not ready")
        outside.set("last", "write")
        own_server.call("POST", f"migration-task/{migration_id}/cut-over", {})
        reaches(own_server.client(), migration_id, "SUCCESS")
        until(lambda: serves(own_server.client(), target), "the instance does not serve")
        found = content(cache(own_server.client(), target))
        assert found == content(outside)
        assert len(found) == KEYS - 1 + 3
    assert gateway_of(own_server) is None
    assert own_server.log().count("Traceback") == 0


def node_of(server: Server) -> psutil.Process | None:
    found = [process for process in server.nodes() if any("/nodes/" in word for word in process.info["cmdline"])]
    return found[0] if found else None
