"""Clusters of a valkey-server that has TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caches import authority_of, cache, cache_by_tls, links, load, present, states
from cachewright.valkey.certificates import (
    NODE_FILE,
)
from sdk_calls import created, ended, newest_task, progress, resize, show
from serving import COMMAND, Server, until
from tls_binary import TLS_BINARY, needs_tls_binary
from traffic import Traffic

KEYS = 20_000


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", (*COMMAND, "--valkey-binary", str(TLS_BINARY)))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


@needs_tls_binary
def test_a_cluster_with_tls_is_scaled_and_restarted_while_it_serves(tls_server: Server) -> None:
    client = tls_server.client()
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    writers = [Traffic(number, show(client, instance_id).port) for number in range(2)]
    for writer in writers:
        writer.start()
    until(lambda: all(writer.writes for writer in writers), "not every client has written")
    for shards in (5, 3):
        task_id = resize(client, instance_id, shards, copies=2)
        assert ended(client, instance_id, task_id, seconds=120).status == "SUCCESS"
    assert [writer.errors for writer in writers] == [0, 0], "clients see no error while slots move"
    before = {process.pid for process in tls_server.nodes()}
    assert tls_server.call("PUT", "instances/status", {"instances": [instance_id], "action": "restart"})[0] == 200
    assert ended(client, instance_id, newest_task(client, instance_id).id, seconds=120).status == "SUCCESS"
    assert {process.pid for process in tls_server.nodes()} & before == set()
    for writer in writers:
        writer.finish(cache(client, instance_id))
        assert writer.losses == []
    require_whole(client, instance_id)


@needs_tls_binary
def test_a_node_with_tls_that_dies_is_started_again(tls_server: Server) -> None:
    client = tls_server.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)
    died = tls_server.nodes()[0]
    (folder,) = (
        path.parent
        for path in tls_server.data_dir.glob("nodes/*/valkey.pid")
        if path.read_text().strip() == str(died.pid)
    )
    (folder / NODE_FILE).unlink()
    died.kill()
    until(lambda: len(tls_server.nodes()) == 4 and (folder / NODE_FILE).exists(), "it is not started again")
    until(lambda: is_whole(client, instance_id), "the cluster is not whole again")
    require_whole(client, instance_id)


@needs_tls_binary
def test_clients_of_a_cluster_use_tls(tls_server: Server, tmp_path: Path) -> None:
    client = tls_server.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)

    def switch(*, enabled: bool) -> str:
        return str(tls_server.call("PUT", f"instances/{instance_id}/ssl", {"enabled": enabled})[1]["job_id"])

    def is_whole_with_tls() -> bool:
        try:
            return states(cache_by_tls(client, instance_id, authority)) == {"ok"}
        except Exception:  # whatever the client makes of nodes that are starting
            return False

    task_id = switch(enabled=True)
    until(lambda: progress(client, instance_id, task_id).step_details[-1].step_name == "Post-check.", "no plan")
    tls_server.kill()
    tls_server.start()
    client = tls_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS", tls_server.call("GET", f"tasks/{task_id}")
    assert show(client, instance_id).enable_ssl
    authority = authority_of(client, instance_id, tmp_path)
    assert present(cache_by_tls(client, instance_id, authority), KEYS) == KEYS
    assert not is_whole(client, instance_id), "clients without TLS are refused"

    assert ended(client, instance_id, resize(client, instance_id, 3, copies=2)).status == "SUCCESS"
    until(lambda: len(cache_by_tls(client, instance_id, authority).get_nodes()) == 6, "clients do not find all nodes")
    caches = cache_by_tls(client, instance_id, authority)
    assert (present(caches, KEYS), links(caches)) == (KEYS, {"up"})
    tls_server.nodes()[0].kill()
    until(lambda: len(tls_server.nodes()) == 6, "it is not started again")
    until(is_whole_with_tls, "the cluster is not whole again")
    assert ended(client, instance_id, switch(enabled=False)).status == "SUCCESS"
    require_whole(client, instance_id)


def is_whole(client: Any, instance_id: str) -> bool:
    try:
        caches = cache(client, instance_id)
        return states(caches) == {"ok"} and links(caches) == {"up"}
    except Exception:  # whatever the client makes of nodes that are starting
        return False


def require_whole(client: Any, instance_id: str) -> None:
    assert show(client, instance_id).status == "RUNNING"
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert links(caches) == {"up"}
    assert present(caches, KEYS) == KEYS
