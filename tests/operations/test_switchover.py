"""Switchovers of real shards under a writer: by request, by priority, and with processes killed in the middle."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    ChangeMasterStandbyAsyncRequest,
    ChangeMasterStandbyRequest,
    ExecuteClusterSwitchoverRequest,
    ListGroupReplicationInfoRequest,
    PriorityBody,
    RestartOrFlushInstancesRequest,
    ShowJobInfoRequest,
    ShowNodesInformationRequest,
    UpdateSlavePriorityRequest,
)

from caches import cache, operator_of, serves
from sdk_calls import created, ended, newest_task, progress, show
from serving import Server, until
from traffic import Traffic

SHARDS = 2
COPIES = 3


class Shard(NamedTuple):
    group_id: str
    primary: str
    replicas: list[str]


class Replicated(NamedTuple):
    server: Server
    instance_id: str

    @property
    def client(self) -> Any:
        return self.server.client()

    def shard(self, number: int = 0) -> Shard:
        answer = self.client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=self.instance_id))
        group = answer.group_list[number]
        roles = {node.node_id: node.replication_role for node in group.replication_list}
        (primary,) = (node_id for node_id, role in roles.items() if role == "master")
        return Shard(group.group_id, primary, sorted(roles.keys() - {primary}))

    def switch_over(self, group_id: str, node_id: str) -> str:
        request = ExecuteClusterSwitchoverRequest(instance_id=self.instance_id, group_id=group_id, node_id=node_id)
        return str(self.client.execute_cluster_switchover(request).job_id)

    def set_priority(self, group_id: str, node_id: str, weight: int) -> None:
        body = PriorityBody(slave_priority_weight=weight)
        request = UpdateSlavePriorityRequest(
            instance_id=self.instance_id, group_id=group_id, node_id=node_id, body=body
        )
        self.client.update_slave_priority(request)

    def node(self, node_id: str) -> Any:
        answer = self.client.show_nodes_information(ShowNodesInformationRequest(instance_id=self.instance_id))
        return next(node for node in answer.nodes if node.node_id == node_id)

    def process(self, node_id: str) -> psutil.Process:
        return next(node for node in self.server.nodes() if any(node_id in word for word in node.info["cmdline"]))


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """An instance on a server of its own, because tests kill its processes."""
    server = Server(tmp_path_factory.mktemp("switchover") / "data")
    try:
        server.start()
        yield Replicated(server, created(server.client(), SHARDS, copies=COPIES))
    finally:
        server.clean_up()


def writer_of(replicated: Replicated) -> Traffic:
    writer = Traffic(1, show(replicated.client, replicated.instance_id).port)
    writer.start()
    until(lambda: writer.writes, "nobody writes")
    return writer


def require_whole(replicated: Replicated, writer: Traffic, shard: Shard) -> None:
    """Every shard has its nodes, the instance serves, and no acknowledged write was lost."""
    client, instance_id = replicated.client, replicated.instance_id
    until(lambda: len(replicated.server.nodes()) == SHARDS * COPIES, "a node is missing")
    until(lambda: serves(client, instance_id), "the cluster does not serve")
    writes = writer.writes
    until(lambda: writer.writes > writes, "the writer does not go on")
    writer.finish(cache(client, instance_id))
    assert writer.losses == []
    after = replicated.shard()
    assert {after.primary, *after.replicas} == {shard.primary, *shard.replicas}
    assert show(client, instance_id).status == "RUNNING"


def test_a_replica_that_is_named_takes_over(replicated: Replicated) -> None:
    client, shard = replicated.client, replicated.shard()
    writer = writer_of(replicated)
    task_id = replicated.switch_over(shard.group_id, shard.replicas[1])
    row = ended(client, replicated.instance_id, task_id)
    assert (row.name, row.status) == ("masterStandbySwapJob", "SUCCESS")
    job = client.show_job_info(ShowJobInfoRequest(job_id=task_id))
    assert (job.job_type, job.status) == ("masterStandbySwapJob", "SUCCESS")
    assert replicated.shard().primary == shard.replicas[1]
    told = progress(client, replicated.instance_id, task_id)
    assert told.progress == 100
    assert [step.step_name for step in told.step_details] == ["Pre-check.", "Switchover.", "Post-check."]
    offsets = told.step_details[0].sub_step_details[0].detail
    assert f"node_id:{shard.replicas[1]},primary_offset:" in offsets
    require_whole(replicated, writer, shard)


def test_priorities_decide_who_takes_over_at_a_restart(replicated: Replicated) -> None:
    client, shard = replicated.client, replicated.shard()
    first, last = shard.replicas
    replicated.set_priority(shard.group_id, last, 1)
    replicated.set_priority(shard.group_id, first, 0)
    assert (replicated.node(last).priority_weight, replicated.node(first).priority_weight) == (1, 0)
    assert replicated.node(shard.primary).priority_weight is None
    with operator_of(
        replicated.server, "127.0.0.1", int(replicated.node(first).node_port), decode_responses=True
    ) as node:
        settings = node.config_get("replica-priority", "cluster-replica-no-failover")
    assert settings == {"replica-priority": "0", "cluster-replica-no-failover": "yes"}
    body = ChangeInstanceStatusBody(instances=[replicated.instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    task_id = newest_task(client, replicated.instance_id).id
    assert ended(client, replicated.instance_id, task_id, seconds=120).status == "SUCCESS"
    assert replicated.shard().primary == last
    with operator_of(
        replicated.server, "127.0.0.1", int(replicated.node(first).node_port), decode_responses=True
    ) as node:
        assert node.config_get("replica-priority") == {"replica-priority": "0"}, "a restart keeps it"
    with pytest.raises(SdkException) as refused:
        replicated.switch_over(shard.group_id, first)
    assert refused.value.error_code == "DCS.4253"
    with closing(sqlite3.connect(replicated.server.data_dir / "cachewright.db", timeout=30)) as record, record:
        record.execute("UPDATE nodes SET priority = 7 WHERE id = ?", (first,))  # as a server that performs no tasks
    with operator_of(
        replicated.server, "127.0.0.1", int(replicated.node(first).node_port), decode_responses=True
    ) as node:
        until(lambda: node.config_get("replica-priority") == {"replica-priority": "7"}, "the priority is not set")
    replicated.set_priority(shard.group_id, first, 100)


def test_an_invalid_request_is_refused_without_a_task(replicated: Replicated) -> None:
    client, instance_id = replicated.client, replicated.instance_id
    shard, other = replicated.shard(), replicated.shard(1)
    before = newest_task(client, instance_id).id

    def code(call: Any, *arguments: Any) -> str:
        with pytest.raises(SdkException) as refused:
            call(*arguments)
        return str(refused.value.error_code)

    assert code(replicated.switch_over, shard.group_id, shard.primary) == "DCS.4931"
    assert code(replicated.switch_over, shard.group_id, "0" * 40) == "DCS.3053"
    assert code(replicated.switch_over, other.group_id, shard.replicas[0]) == "DCS.4062"
    assert code(replicated.set_priority, shard.group_id, shard.primary, 1) == "DCS.4931"
    assert code(replicated.set_priority, shard.group_id, shard.replicas[0], 101) == "DCS.4939"
    request = ChangeMasterStandbyRequest(instance_id=instance_id)
    assert code(client.change_master_standby, request) == "DCS.4086"
    request = ChangeMasterStandbyAsyncRequest(instance_id=instance_id)
    assert code(client.change_master_standby_async, request) == "DCS.4086"
    assert newest_task(client, instance_id).id == before


@pytest.mark.parametrize("struck", ["server", "primary", "replica"])
def test_a_switchover_survives_the_death_of(replicated: Replicated, struck: str) -> None:
    shard = replicated.shard()
    writer = writer_of(replicated)
    chosen = shard.replicas[0]
    task_id = replicated.switch_over(shard.group_id, chosen)
    if struck == "server":
        replicated.server.kill()
        replicated.server.start()
    else:
        replicated.process(shard.primary if struck == "primary" else chosen).kill()
    row = ended(replicated.client, replicated.instance_id, task_id, seconds=150)
    assert row.status == "SUCCESS"
    assert replicated.shard().primary == chosen
    require_whole(replicated, writer, shard)


def test_the_command_line_sets_a_priority_and_switches_over(replicated: Replicated) -> None:
    shard = replicated.shard()
    env = {**os.environ, "CACHEWRIGHT_DATA_DIR": str(replicated.server.data_dir)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cachewright", "instances", "nodes", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=env)

    set_ = run("priority", replicated.instance_id, shard.replicas[0][:12], "7")
    assert (set_.returncode, set_.stderr) == (0, "")
    assert replicated.node(shard.replicas[0]).priority_weight == 7
    switched = run("switchover", replicated.instance_id, shard.replicas[0][:12], "--wait")
    assert switched.returncode == 0, switched.stderr
    assert replicated.shard().primary == shard.replicas[0]
    assert "0 nodes" in run("switchover", replicated.instance_id, "zz").stderr
