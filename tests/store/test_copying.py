"""Records of an SQLite database in an empty PostgreSQL database."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.model.webhooks import Webhook
from cachewright.services.accounts import first_credentials
from cachewright.store import instances, tasks, webhooks
from cachewright.store.copying import NOT_COPIED, copy
from cachewright.store.database import DatabaseNotReady
from cachewright.store.opening import open_database, open_for_copy, parse_database_url
from cachewright.store.sqlite import SqliteDatabase
from cachewright.store.tables import metadata
from database_fixtures import a_task, an_instance
from postgres_server import PostgresServer
from standalone_node import node_at


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = open_database(Settings(data_dir=tmp_path))
    assert isinstance(database, SqliteDatabase)
    with database.write() as connection:
        first_credentials(connection)
        instances.add(connection, an_instance(password="Secret-1"))
        instances.add_nodes(connection, [node_at(10001)])
        webhooks.add(
            connection,
            Webhook(id="w", project_id="p", url="http://x", events=(), secret="s", enabled=True, created_at=1),
        )
        tasks.add(connection, a_task(status="EXECUTING"))
        tasks.add(connection, a_task(id="t2"))
    yield database
    database.close()


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.new_database()
    yield parse_database_url(made)
    postgres.drop_database(made)


def test_every_record_is_copied_and_new_ones_follow(source: SqliteDatabase, url: str) -> None:
    target = open_for_copy(url, source.cipher)
    copied = copy(source, target)
    assert copied["tasks"] == 2
    assert copied["deliveries"] > 0
    with source.read() as before, target.read() as after:
        for table in metadata.sorted_tables:
            if table not in NOT_COPIED:
                rows = sorted(map(str, before.execute(table.select()).mappings()))
                assert sorted(map(str, after.execute(table.select()).mappings())) == rows
                assert copied[table.name] == len(rows)
        found = instances.find(after, "i")
    assert found
    assert found.password == "Secret-1"
    with target.write() as connection:
        tasks.add(connection, a_task(id="t3"))
        assert connection.execute(sa.text("SELECT max(sequence) FROM tasks")).scalar_one() == 3
    target.close()


def test_only_an_empty_database_is_a_target(source: SqliteDatabase, url: str) -> None:
    target = open_for_copy(url, source.cipher)
    copy(source, target)
    with pytest.raises(DatabaseNotReady, match="has records already"):
        copy(source, target)
    target.close()
    plain = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(DatabaseNotReady, match="another release"):
        open_for_copy(url, source.cipher)
