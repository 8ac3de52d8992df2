"""A server moves from SQLite to PostgreSQL in the middle of a task."""

import os
import subprocess
import sys

from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import created, ended, held_in_migration, progress
from serving import Server

VARIABLE = "CACHEWRIGHT_DATABASE_URL"
KEYS = 5_000


def copied(server: Server, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cachewright", "database", "copy", "--data-dir", str(server.data_dir)]
    environment = {**os.environ, VARIABLE: url}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_a_task_continues_after_the_database_was_copied(own_server: Server, postgres: PostgresServer) -> None:
    client, url = own_server.client(), postgres.new_database()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    task_id = held_in_migration(own_server, client, instance_id, 3)
    before = progress(client, instance_id, task_id).progress
    refused = copied(own_server, url)
    assert refused.returncode == 1
    assert "another server runs on" in refused.stderr
    own_server.stop()
    done = copied(own_server, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "tasks: 2" in done.stdout
    assert postgres.password not in done.stdout
    again = copied(own_server, url)
    assert again.returncode == 1
    assert "no server of this release has run on" in again.stderr

    own_server.environment[VARIABLE] = url
    own_server.start()
    client = own_server.client()
    assert progress(client, instance_id, task_id).progress >= before
    control = f"instances/{instance_id}/tasks/{task_id}/control"
    assert own_server.call("PUT", control, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert present(cache(client, instance_id), KEYS) == KEYS
    own_server.clean_up()
    postgres.drop_database(url)
