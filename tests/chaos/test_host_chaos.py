"""Random tasks under client traffic while hosts are cut off, slowed down and killed, from a printed seed.

At the end: every task has ended, every write that a replica had confirmed is there, every slot is owned once, and each
host runs what is recorded for it. `CHAOS_SEED` and `CHAOS_MINUTES` are those of `test_chaos.py`; without minutes it is
short.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from host_faults import HostFaults
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest

from agents import Hosts
from backup_files import requested
from caches import cache, load, present
from cachewright.valkey.slots import SLOTS
from distant_hosts import distant_hosts
from host_checks import GET_OVER_SECONDS, Percents, require_machines, require_only_recorded, settled
from machines import LOCAL
from replicated_traffic import ReplicatedTraffic, addresses_of
from sdk_calls import accepted, create, created, ended, gone, newest_task, resize, show
from serving import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("CHAOS_MINUTES", "0.1"))
LONGEST_SECONDS = 25.0 if "CHAOS_MINUTES" in os.environ else 8.0
"""Of faults. A host counts as silent after 10 s."""

SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**9)))
KEYS = 10_000
_MOST_SHARDS = 4
_OPTIONS = ("--host-rebuild-seconds", "5", "--client-grace-seconds", "1")


def test_hosts_fail_at_any_time(tmp_path: Path) -> None:
    require_machines()
    print(f"\nCHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES} hosts")
    with distant_hosts(tmp_path, 3, *_OPTIONS) as (machines, hosts):
        hosts.run("hosts", "cordon", LOCAL)
        client = hosts.server.client()
        instance_id = created(client, 3, copies=2)
        load(cache(client, instance_id), KEYS)
        faults = HostFaults(machines, hosts, SEED, LONGEST_SECONDS)
        traffic = [ReplicatedTraffic(number, addresses_of(client, instance_id)) for number in range(2)]
        for thread in traffic:
            thread.start()
        deeds = Deeds(faults, instance_id)
        try:
            deadline = time.monotonic() + 60 * MINUTES
            while time.monotonic() < deadline:
                deeds.one()
            require_nothing_lost(hosts, instance_id, traffic)
            require_nothing_left(hosts, instance_id)
        except BaseException:
            logs = [process.log()[-4000:] for process in (hosts.server, *hosts.agents.values())]
            print("\n".join(["", f"CHAOS_SEED={SEED} hosts", *faults.events, *logs]))
            raise
        writes = sum(thread.writes for thread in traffic)
        print("\n".join(["", *faults.events, f"{writes} replicated writes, all found again"]))


class Deeds:
    """Tasks of an instance with replicas, during which hosts have faults."""

    def __init__(self, faults: HostFaults, instance_id: str) -> None:
        self._faults = faults
        self._hosts = faults.hosts
        self._instance_id = instance_id

    @property
    def _client(self) -> Any:
        return self._hosts.server.client()

    def one(self) -> None:
        deeds: list[Callable[[], None]] = [
            self._scale,
            self._scale,
            self._create_and_delete,
            self._back_up,
            self._drain,
            self._restart,
        ]
        self._faults.random.choice(deeds)()
        settled(self._client, self._instance_id)
        for name in self._hosts.agents:
            require_only_recorded(self._hosts, name)

    def _scale(self) -> None:
        now = show(self._client, self._instance_id).sharding_count
        wanted = self._faults.random.choice([shards for shards in range(2, _MOST_SHARDS + 1) if shards != now])
        task_id = accepted(lambda: resize(self._client, self._instance_id, wanted, copies=2))
        self._under_a_strike(f"scale from {now} to {wanted}", self._instance_id, task_id)

    def _create_and_delete(self) -> None:
        second = create(self._client, 2, copies=2, name="second")
        self._under_a_strike("create", second, newest_task(self._client, second).id)
        assert self._hosts.server.call("DELETE", f"instances/{second}")[0] == 204
        if self._faults.random.random() < 0.5:
            self._faults.strike()
        until(lambda: gone(self._client, second), "the instance is not deleted", GET_OVER_SECONDS)

    def _back_up(self) -> None:
        accepted(lambda: requested(self._client, self._instance_id))
        self._under_a_strike("back up", self._instance_id, newest_task(self._client, self._instance_id).id)

    def _restart(self) -> None:
        body = ChangeInstanceStatusBody(instances=[self._instance_id], action="restart")
        accepted(lambda: self._client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body)))
        self._under_a_strike("restart", self._instance_id, newest_task(self._client, self._instance_id).id)

    def _drain(self) -> None:
        """Nodes of a host move to others. Then it takes part again."""
        places = self._hosts.places(self._instance_id)
        name = self._faults.random.choice(sorted({name for names in places.values() for name in names}))
        before = newest_task(self._client, self._instance_id).id
        self._faults.note(f"drain {name}")
        self._hosts.run("hosts", "drain", name)
        try:
            until(lambda: newest_task(self._client, self._instance_id).id != before, "the drain does not begin")
            self._under_a_strike("move", self._instance_id, newest_task(self._client, self._instance_id).id)
        finally:
            self._hosts.run("hosts", "uncordon", name)

    def _under_a_strike(self, what: str, instance_id: str, task_id: str) -> None:
        self._faults.note(f"{what}: {task_id}")
        percents = Percents(self._client, instance_id, task_id)
        self._faults.pause(2)
        self._faults.strike()
        status = ended(self._client, instance_id, task_id, GET_OVER_SECONDS).status
        self._faults.note(f"{status}")
        percents.require_steady()


def require_nothing_lost(hosts: Hosts, instance_id: str, traffic: list[ReplicatedTraffic]) -> None:
    caches = cache(hosts.server.client(), instance_id)
    for thread in traffic:
        thread.finish(caches)
        assert thread.writes
        assert not thread.losses, "writes that a replica had confirmed are lost"
    assert present(caches, KEYS) == KEYS, "keys are missing"
    nodes = [node for node in caches.cluster_nodes().values() if node["slots"]]
    assert sum(int(part[-1]) - int(part[0]) + 1 for node in nodes for part in node["slots"]) == SLOTS


def require_nothing_left(hosts: Hosts, instance_id: str) -> None:
    """No process, no file, and no unfinished task is left."""
    assert hosts.server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(hosts.server.client(), instance_id), "the instance is not deleted", GET_OVER_SECONDS)
    for agent in hosts.agents.values():
        assert not agent.nodes()
        assert not [path for path in (agent.data_dir / "nodes").iterdir() if path.is_dir()]
    with psycopg.connect(hosts.url) as connection:
        assert not connection.execute("SELECT id FROM tasks WHERE status NOT IN ('SUCCESS', 'FAILED')").fetchall()
        assert not connection.execute("SELECT id FROM nodes").fetchall()
