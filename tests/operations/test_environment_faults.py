"""The disk is full, the database is locked, the clock is set back, a port is taken: in the middle of a task."""

import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from caches import cache, load, present, serves
from environment_faults import fill, impatient_of_locks, set_back_an_hour_while, small_disk
from sdk_calls import created, ended, in_migration, newest_task, progress, resize, resize_until, show
from serving import Server, until


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[Server]:
    """A server on a disk of 128 MB."""
    server = Server(tmp_path / "data")
    with small_disk(server.data_dir, 128):
        try:
            server.start()
            yield server
        finally:
            server.clean_up()


def moving(client: Any, instance_id: str) -> tuple[str, Any]:
    """Id and progress of a resize from two shards to three, in its data migration."""
    return resize_until(client, instance_id, 3, lambda task_id: in_migration(client, instance_id, task_id))


def test_a_disk_that_fills_up_in_mid_migration_loses_nothing_and_the_scale_ends(cramped: Server) -> None:
    client = cramped.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), 100_000)
    task_id, _ = moving(client, instance_id)
    until(lambda: code_when_full(cramped, instance_id) == "DCS.4961", "the database still takes changes")
    shown = progress(client, instance_id, task_id)
    until(lambda: "database unavailable" in cramped.log() or over(client, instance_id, task_id), "nobody noticed")
    assert progress(client, instance_id, task_id).progress >= shown.progress
    (cramped.data_dir / "filler").unlink()
    row = ended(client, instance_id, task_id, seconds=120)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not usable")
    assert row.status in {"SUCCESS", "FAILED"}
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    assert present(cache(client, instance_id), 100_000) == 100_000
    if row.status == "FAILED":
        again = resize(client, instance_id, 3)
        assert ended(client, instance_id, again).status == "SUCCESS"
    assert present(cache(client, instance_id), 100_000) == 100_000


def code_when_full(server: Server, instance_id: str) -> str | None:
    """The code that a change is refused with, once the space is gone that the database had set aside for itself. A
    change that asks for no space of the disk: a new instance would be refused before the database is asked."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(server.data_dir)
    status, answer = server.call("PUT", f"instances/{instance_id}", {"description": f"at {time.time()}"})
    return None if status < 400 else str(answer["error_code"])


def over(client: Any, instance_id: str, task_id: str) -> bool:
    return newest_task(client, instance_id).status in {"SUCCESS", "FAILED"}


def test_a_server_on_a_full_disk_comes_back_when_there_is_space(cramped: Server) -> None:
    client = cramped.client()
    instance_id = created(client)
    cache(client, instance_id).set("a", "1")
    filler = fill(cramped.data_dir)
    cramped.kill()
    require_plain_refusal(cramped, "No space left on device|disk is full")
    assert len(cramped.nodes()) == 3
    filler.unlink()
    cramped.start()
    assert show(cramped.client(), instance_id).status == "RUNNING"
    assert cache(cramped.client(), instance_id).get("a") == b"1"


def test_a_server_on_a_read_only_disk_says_so_and_leaves_the_caches(cramped: Server) -> None:
    instance_id = created(cramped.client())
    cramped.kill()
    for node in cramped.nodes():
        node.kill()
    until(lambda: not cramped.nodes(), "nodes still run")
    subprocess.run(["mount", "-o", "remount,ro", str(cramped.data_dir)], check=True)
    require_plain_refusal(cramped, "Read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", str(cramped.data_dir)], check=True)
    cramped.start()
    until(lambda: serves(cramped.client(), instance_id), "the cluster does not serve again")


def require_plain_refusal(server: Server, reason: str) -> None:
    code, said = server.refusal()
    assert code == 1
    assert re.search(rf"^cachewright: cannot use \S+: .*({reason})$", said, re.MULTILINE), said
    assert "Traceback" not in said


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Server]:
    """A server that does not wait long for a locked database."""
    server = Server(tmp_path / "data", impatient_of_locks())
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def test_a_database_that_is_locked_for_a_while_holds_up_and_breaks_nothing(impatient: Server) -> None:
    client = impatient.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), 60_000)
    task_id, _ = moving(client, instance_id)
    with closing(sqlite3.connect(impatient.data_dir / "cachewright.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = progress(client, instance_id, task_id)
        until(lambda: "database unavailable" in impatient.log(), "nobody noticed")
        assert progress(client, instance_id, task_id).progress == first.progress
        other.execute("ROLLBACK")
    assert ended(client, instance_id, task_id, seconds=120).status == "SUCCESS"
    assert present(cache(client, instance_id), 60_000) == 60_000


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_clock_set_back_an_hour_turns_no_times_around(tmp_path: Path, restarted: bool) -> None:
    mark = tmp_path / "an-hour-back"
    server = Server(tmp_path / "data", set_back_an_hour_while(mark))
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 2)
        load(cache(client, instance_id), 100_000)
        task_id, before = moving(client, instance_id)
        mark.touch()
        if restarted:
            server.kill()
            server.start()
            client = server.client()
        seen = progress(client, instance_id, task_id)
        assert seen.progress >= before.progress
        assert seen.remain_time < 600
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        final = progress(client, instance_id, task_id)
        assert [s.begin_time for s in final.step_details[:3]] == [s.begin_time for s in before.step_details[:3]]
        spans = [(s.begin_time, s.end_time) for step in final.step_details for s in (step, *step.sub_step_details)]
        assert all(begin <= end for begin, end in spans)
        row = newest_task(client, instance_id)
        assert 0 <= (moment(row.updated_at) - moment(row.created_at)).total_seconds() < 600
        later = resize(client, instance_id, 2)
        assert newest_task(client, instance_id).id == later
        assert ended(client, instance_id, later).status == "SUCCESS"
    finally:
        server.clean_up()


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
