"""Random tasks under client traffic while random processes are killed and frozen, from a printed seed.

At the end: every task has ended, a webhook was told so, every acknowledged write is there, every slot is owned once,
every node agrees, and nothing is left behind. `CHAOS_SEED` replays a run's decisions, `CHAOS_MINUTES` makes it longer;
so does `make chaos MINUTES=n`.
"""

import json
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_injection import FaultInjector
from replicated_workloads import PrimaryWithStandby, ReplicatedCluster
from workload import Workload, delete

from backup_files import fetched, manifest_of
from caches import load, present
from cachewright.hosts.programs import find_haproxy
from receiver import Receiver
from sdk_calls import show
from serving import Server, until
from traffic import Loss, Traffic

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("CHAOS_MINUTES", "1"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**9)))
KEYS = 40_000
needs_haproxy = pytest.mark.skipif(find_haproxy() is None, reason="HAPROXY IS NOT TESTED: it is not installed")
needs_minutes = pytest.mark.skipif("CHAOS_MINUTES" not in os.environ, reason="only with `make chaos`, which sets them")
_OF_PROCESSES = ("proxies", "sentinels", "converters", "gateways")
AOF_SECONDS = 2.5
"""A node answers while its last second is being synced to disk, and writes its file at most two seconds later: what it
acknowledged in that time may be gone if it is killed then. See docs/failure-modes.md."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(Workload, id="masters"),
        pytest.param(ReplicatedCluster, id="replicas"),
        pytest.param(PrimaryWithStandby, id="ha", marks=[needs_haproxy, needs_minutes]),
    ],
)
def test_nothing_is_lost_and_nothing_hangs(
    own_server: Server, receiver: Receiver, workload: type[Workload], tmp_path: Path
) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES} {workload.__name__}")
    if workload.options:
        own_server.stop()
        own_server.arguments += workload.options
        own_server.start()
    assert own_server.call("POST", "webhooks", {"url": receiver.url})[0] == 200
    client = own_server.client()
    instance_id = workload.create(client)
    chaos = FaultInjector(own_server, SEED, workload.longest_freeze)
    deeds = workload(chaos, instance_id)
    load(deeds.connect(), KEYS)
    deeds.begin()
    port = show(client, instance_id).port
    traffic = [Traffic(number, port, patience=2, clustered=deeds.clustered) for number in range(2)]
    for thread in traffic:
        thread.start()
    try:
        deadline = time.monotonic() + 60 * MINUTES
        while time.monotonic() < deadline:
            deeds.one()
        deeds.settle()
        require_nothing_lost(deeds, chaos, traffic)
        require_whole_backups(own_server, deeds.backups, tmp_path)
        require_nothing_left(chaos, instance_id)
        require_every_end_told(chaos, receiver)
    except BaseException:
        print("\n".join(["", f"CHAOS_SEED={SEED} {workload.__name__}", *chaos.events, own_server.log()[-6000:]]))
        raise
    writes = sum(thread.writes for thread in traffic)
    print("\n".join(["", *chaos.events, f"{writes} writes acknowledged, all found again"]))


def require_nothing_lost(deeds: Workload, chaos: FaultInjector, traffic: list[Traffic]) -> None:
    caches = deeds.connect()
    for thread in traffic:
        thread.finish(caches)
        assert thread.writes
        lost = [loss for loss in thread.losses if not just_before_a_kill(loss, chaos.kills)]
        assert not lost, "acknowledged writes are lost"
    assert present(caches, KEYS) == KEYS, "keys are missing"
    deeds.require_whole()


def require_whole_backups(server: Server, backups: list[str], folder: Path) -> None:
    """Each backup has all keys that were there from the begin, and its files are the original ones."""
    for backup_id in backups:
        manifest = manifest_of(server, backup_id)
        assert manifest.keys[0] >= KEYS
        assert len(fetched(server, backup_id, folder / backup_id)) == len(manifest.shards)


def just_before_a_kill(loss: Loss, kills: list[float]) -> bool:
    return any(loss.at <= kill <= loss.at + AOF_SECONDS for kill in kills)


def require_nothing_left(chaos: FaultInjector, instance_id: str) -> None:
    """No process, no file, no unfinished task, and no enqueued run is left."""
    delete(chaos, instance_id)
    until(lambda: not rows(chaos, "SELECT id FROM deliveries WHERE status='WAITING'"), "events are still on their way")
    data_dir = chaos.server.data_dir
    until(lambda: not chaos.server.nodes(), "processes are left")  # sentinels end a moment later
    assert not list((data_dir / "nodes").iterdir())
    until(
        lambda: not [file for part in _OF_PROCESSES for file in (data_dir / part).glob("[!.]*")],
        "files of processes are left",
    )
    database = {"cachewright.db", "cachewright.db-shm", "cachewright.db-wal"}
    folders = {"nodes", "backups", "spool", *_OF_PROCESSES}
    known = database | folders | {"credentials.json", "metrics.token", "secret.key", "server.id", "server.lock"}
    assert {path.name for path in data_dir.iterdir()} <= known
    failed = {row[0] for row in rows(chaos, "SELECT id FROM backups WHERE state='pending'")}
    until(
        lambda: {path.name for path in (data_dir / "spool").glob("*")} <= failed, "the spool keeps what no task needs"
    )
    assert not rows(chaos, "SELECT id FROM tasks WHERE status NOT IN ('SUCCESS', 'FAILED')")
    assert not rows(chaos, "SELECT id FROM nodes")
    chaos.server.stop()
    assert not rows(
        chaos, "SELECT workflow_uuid FROM workflow_status WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
    )
    assert not list(data_dir.glob("*.partial"))


def require_every_end_told(chaos: FaultInjector, receiver: Receiver) -> None:
    """How each task has ended, as the database has it, has been heard."""
    told = {
        (event["subject"], event["data"]["status"]) for event in (json.loads(body) for _, body in receiver.received)
    }
    assert set(rows(chaos, "SELECT id, status FROM tasks")) <= told


def rows(chaos: FaultInjector, query: str) -> list[Any]:
    with closing(sqlite3.connect(chaos.server.data_dir / "cachewright.db")) as database:
        return database.execute(query).fetchall()
