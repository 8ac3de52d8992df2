"""Backups of past data: an acknowledged write is in one of its second, a later write is not."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huaweicloudsdkdcs.v2 import RestoreInstanceBody, RestoreInstanceRequest
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from backup_files import contents, epoch, fetched, finished, manifest_of, moment_text
from caches import FAULTS, cache, operator_of, serves
from sdk_calls import PASSWORD, created, ended, newest_task, resize, show
from serving import Server, until

SINGLE = {"spec_code": "redis.single.xu1.large.1", "capacity": 1}
_PAUSE_SECONDS = 0.005


class Writes:
    """Writes numbered keys with several commands until stopped. Each write has the time before it, and after it was
    acknowledged; None if it was not."""

    def __init__(self, caches: ValkeyCluster, name: str = "n") -> None:
        self._caches = caches
        self._name = name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.made: list[tuple[float, float | None]] = []

    def __enter__(self) -> "Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        acts: list[Callable[[str], Any]] = [
            lambda name: self._caches.set(name, name),
            lambda name: self._caches.eval("redis.call('SET', KEYS[1], KEYS[1])", 1, name),
            lambda name: self._caches.set(name, name, px=3_600_000),
            self._in_transaction,
        ]
        while not self._stopped.is_set():
            number, sent = len(self.made), time.time()
            try:
                acts[number % len(acts)](f"{self._name}:{number}")
                self.made.append((sent, time.time()))
            except FAULTS:
                self.made.append((sent, None))
            time.sleep(_PAUSE_SECONDS)

    def _in_transaction(self, name: str) -> None:
        with self._caches.pipeline(transaction=True) as pipeline:
            pipeline.set(name, "not yet").set(name, name).execute()

    def require(self, found: set[str], second: int) -> None:
        """The keys are those of the writes until the end of this second."""
        for number, (sent, acknowledged) in enumerate(self.made):
            if acknowledged is not None and acknowledged < second + 1:
                assert f"{self._name}:{number}" in found, (
                    f"write {number} of {acknowledged} is not in the data of {second}"
                )
            if sent >= second + 1:
                assert f"{self._name}:{number}" not in found, f"write {number} of {sent} is in the data of {second}"


def write_log(server: Server, instance_id: str, keep_hours: int | None = None) -> Any:
    change = ("GET", None) if keep_hours is None else ("PUT", {"keep_hours": keep_hours})
    status, answer = server.call(change[0], f"instances/{instance_id}/write-log", change[1])
    assert status == 200, answer
    return answer


def offered(server: Server, instance_id: str, second: int) -> bool:
    """Whether the data of a second can be backed up."""
    windows = write_log(server, instance_id)["windows"]
    return any(epoch(one["first"]) <= second <= epoch(one["last"]) for one in windows)


def past(server: Server, instance_id: str, second: int | str) -> tuple[int, Any]:
    """Request a backup of the data of a second."""
    body = {"moment": second if isinstance(second, str) else moment_text(second)}
    return server.call("POST", f"instances/{instance_id}/backups", body)


def past_backup(server: Server, client: Any, instance_id: str, second: int) -> str:
    until(lambda: offered(server, instance_id, second), f"the data of {second} is not offered")
    status, answer = past(server, instance_id, second)
    assert status == 200, answer
    done = finished(client, instance_id, answer["backup_id"])
    assert (done.status, done.error_code) == ("succeed", None), server.log()
    assert manifest_of(server, answer["backup_id"]).taken_at // 1000 == second
    return str(answer["backup_id"])


def keys_of(server: Server, backup_id: str, folder: Path) -> set[str]:
    (found,) = contents(fetched(server, backup_id, folder / backup_id), folder).values()
    return set(found)


def second_after(seconds: float) -> int:
    """The present second, after it and some more have passed."""
    now = int(time.time())
    until(lambda: time.time() >= now + 1 + seconds, "the clock does not go on")
    return now


def operators(server: Server, client: Any, instance_id: str) -> list[Valkey]:
    nodes = cache(client, instance_id).get_nodes()
    return [operator_of(server, node.host, node.port) for node in nodes]


def test_the_data_of_a_second_comes_back_after_a_deletion_of_all_keys(own_server: Server, tmp_path: Path) -> None:
    """The server is killed while writes continue, files are rewritten, and replicas become primaries."""
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    assert past(own_server, instance_id, int(time.time()))[1]["error_code"] == "DCS.4062"
    assert write_log(own_server, instance_id, 24)["keep_hours"] == 24
    until(lambda: write_log(own_server, instance_id)["windows"], "nothing can be restored")
    caches = cache(client, instance_id)
    with Writes(caches) as writes:
        before = second_after(1)
        own_server.kill()
        away = second_after(1)
        own_server.start()
        client = own_server.client()
        for node in operators(own_server, client, instance_id):
            node.execute_command("BGREWRITEAOF")
        rewritten = second_after(1)
    caches.flushall()
    deleted = second_after(0)
    backup_id = past_backup(own_server, client, instance_id, before)
    writes.require(keys_of(own_server, backup_id, tmp_path), before)
    until(lambda: offered(own_server, instance_id, away), "the data of the time without a server is not offered")
    backup_id = past(own_server, instance_id, away)[1]["backup_id"]
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert finished(client, instance_id, backup_id).status == "succeed", own_server.log()
    writes.require(keys_of(own_server, backup_id, tmp_path), away)
    assert keys_of(own_server, past_backup(own_server, client, instance_id, deleted), tmp_path) == set()

    restored = past_backup(own_server, client, instance_id, rewritten)
    body = RestoreInstanceBody(backup_id=restored)
    client.restore_instance(RestoreInstanceRequest(instance_id=instance_id, body=body))
    restoring = second_after(0)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS", own_server.log()
    until(lambda: serves(client, instance_id), "the instance does not serve")
    writes.require({key.decode() for key in cache(client, instance_id).scan_iter(count=1000)}, rewritten)
    assert offered(own_server, instance_id, before), "the logs from before the restore are gone"

    nodes_die_and_the_storage_is_away(own_server, client, instance_id, tmp_path)
    assert not offered(own_server, instance_id, restoring)

    assert write_log(own_server, instance_id, 0)["keep_hours"] == 0
    until(lambda: not list((own_server.data_dir / "backups" / "logs").iterdir()), "objects of logs are left")
    until(lambda: not list((own_server.data_dir / "nodes").glob("*/write-log")), "links are left")
    assert not list((own_server.data_dir / "converters").glob("*")), "a temporary node is left"
    assert own_server.log().count("Traceback") == 0


def nodes_die_and_the_storage_is_away(own_server: Server, client: Any, instance_id: str, tmp_path: Path) -> None:
    killed = int(time.time())
    for node in own_server.nodes():
        node.kill()  # some replicas take over, some primaries come back
    until(lambda: serves(client, instance_id), "the killed nodes do not come back")
    with Writes(cache(client, instance_id), "later") as later:
        first = until(lambda: begun_after(own_server, instance_id, killed), "no log begins after nodes were killed")
        second = max(second_after(1), first)
    folder = own_server.data_dir / "backups"
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    cache(client, instance_id).set("later:last", "while the storage is away")
    last = second_after(0)
    assert not offered(own_server, instance_id, last)
    folder.unlink()
    (tmp_path / "away").rename(folder)
    later.require(keys_of(own_server, past_backup(own_server, client, instance_id, second), tmp_path), second)
    assert "later:last" in keys_of(own_server, past_backup(own_server, client, instance_id, last), tmp_path)


def begun_after(server: Server, instance_id: str, second: int) -> int | None:
    """The first second of the newest window, if it begins after this one."""
    windows = write_log(server, instance_id)["windows"]
    first = epoch(windows[-1]["first"]) if windows else 0
    return first if first > second else None


def test_past_data_of_an_instance_that_was_scaled_since_and_of_databases(
    server: Server, client: Any, tmp_path: Path
) -> None:
    single, cluster = created(client, 1, **SINGLE), created(client, 1)
    for moment in ("yesterday", "2026-11-27T08:30:00", "2026-11-27T08:30:00.5Z", "1990-01-01T00:00:00Z"):
        status, answer = past(server, single, moment)
        assert (status, answer["error_code"]) == (400, "DCS.4062"), answer
        assert "moment" in answer["error_msg"]
    for hours in (-1, 169, "day"):
        assert server.call("PUT", f"instances/{single}/write-log", {"keep_hours": hours})[0] == 400
    assert write_log(server, single) == {"keep_hours": 0, "size": 0, "windows": [], "logs": []}
    write_log(server, single, 1)
    write_log(server, cluster, 1)
    until(lambda: write_log(server, single)["windows"], "nothing of the single instance can be restored")
    until(lambda: write_log(server, cluster)["windows"], "nothing of the cluster can be restored")
    shown = show(client, single)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, db=3) as node:
        node.set("in database 3", "old", px=3_600_000)
        cache(client, cluster).set("key", "old")
        second = second_after(0)
        node.set("in database 3", "new")
    until(lambda: offered(server, cluster, second), "the data before the resize is not offered")
    assert ended(client, cluster, resize(client, cluster, 2)).status == "SUCCESS"
    cache(client, cluster).set("key", "new")
    written = second_after(0)
    scaled = max(written, until(lambda: begun_after(server, cluster, second), "no log begins after the resize"))
    of_single = fetched(server, past_backup(server, client, single, second), tmp_path / "single")
    assert contents(of_single, tmp_path / "1", (0, 3)) == {0: {}, 3: {"in database 3": "old"}}
    for moment, shards, value in ((second, 1, "old"), (scaled, 2, "new")):
        files = fetched(server, past_backup(server, client, cluster, moment), tmp_path / value)
        assert len(files) == shards
        assert contents(files, tmp_path / f"of-{value}")[0]["key"] == value
