"""A server continues with a restored backup of its database, as docs/database.md describes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from cachewright.config import Settings
from cachewright.store import instances, tasks
from cachewright.store.opening import open_database, parse_database_url
from database_fixtures import a_task, an_instance
from postgres_server import PostgresServer


def stored(settings: Settings) -> None:
    """Store an instance and a task that runs. The database stays as a killed server leaves it."""
    database = open_database(settings)
    with database.write() as connection:
        instances.add(connection, an_instance(password="Secret-1"))
        tasks.add(connection, a_task(status="EXECUTING"))
    database.close()


def require_records(settings: Settings) -> None:
    with closing(open_database(settings)) as database:
        assert database.claim.is_held
        with database.read() as connection:
            found = instances.find(connection, "i")
            assert [task.id for task in tasks.active(connection)] == ["t"]
        assert found
        assert found.password == "Secret-1"
        with database.write() as connection:
            tasks.add(connection, a_task(id="t2"))


def test_sqlite_is_restored_from_a_backup_that_was_made_in_use(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "a")
    restored = Settings(data_dir=tmp_path / "b", secret_key_file=settings.key_file)
    for folder in (settings.data_dir, restored.data_dir):
        folder.mkdir()
    stored(settings)
    with (
        closing(open_database(settings)),
        closing(sqlite3.connect(settings.database_file)) as source,
        closing(sqlite3.connect(restored.database_file)) as target,
    ):
        source.backup(target)
    require_records(restored)


def test_postgres_is_restored_from_a_dump_that_was_made_in_use(postgres: PostgresServer, tmp_path: Path) -> None:
    url, other = postgres.new_database(), postgres.new_database()
    settings = Settings(data_dir=tmp_path, database_url=parse_database_url(url))
    stored(settings)
    with closing(open_database(settings)):
        postgres.dump(url, tmp_path / "dump")
    postgres.restore(tmp_path / "dump", other)
    require_records(msgspec.structs.replace(settings, database_url=parse_database_url(other)))
    for name in (url, other):
        postgres.drop_database(name)
