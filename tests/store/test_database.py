"""The tables are what the migrations make, and a database of the first release becomes one of this."""

import re
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from cachewright.model.tasks import Control
from cachewright.store import instances, migrations, task_controls, tasks, throughput
from cachewright.store.database import Database
from cachewright.store.tables import metadata
from database_fixtures import an_instance, migrated, new_database, opened, stored_bytes

MIGRATIONS = Path(str(migrations.__file__)).parent
RELEASES = Path(__file__).parent.parent / "releases"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


def foreign(name: str | None) -> bool:
    """Tables of the workflow library, in the same file."""
    return name not in metadata.tables


def differences(database: Database) -> list[object]:
    with database.read() as connection:
        options = {"include_name": lambda name, kind, _: kind != "table" or not foreign(name)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def test_migrations_make_the_tables(database_url: str) -> None:
    database = opened(database_url)
    database.migrate()
    assert differences(database) == []
    database.migrate()
    database.close()


def test_the_file_of_a_database_is_for_its_owner_alone(path: Path) -> None:
    migrated(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("release", sorted(RELEASES.glob("*.sql")), ids=lambda path: path.stem)
def test_a_database_of_an_older_release_is_brought_up_to_date(path: Path, release: Path) -> None:
    with sqlite3.connect(path) as old:
        old.executescript(release.read_text())
    old.close()
    database = migrated(f"sqlite:///{path}")
    assert differences(database) == []
    with database.read() as connection:
        stored = connection.execute(sa.text("SELECT instance_id FROM tasks")).scalars().all()
        count, page = tasks.page(connection, instance_id=stored[0], offset=0, limit=10)
    assert count == len(page) == len(stored)
    database.close()


def test_webhooks_of_an_older_release_get_a_slot_each(database_url: str) -> None:
    database = opened(database_url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["cipher"] = database.cipher
        command.upgrade(config, "0005")
    with database.engine.begin() as connection:
        for number, (project_id, created_at) in enumerate([("p", 3), ("q", 1), ("p", 1), ("p", 1), ("q", 2)]):
            row = {"id": f"w{number}", "project_id": project_id, "created_at": created_at}
            values = row | {"url": "http://a/", "events": "[]", "secret": "s", "enabled": True}
            connection.execute(sa.table("webhooks", *map(sa.column, values)).insert().values(values))
    database.migrate()
    with database.read() as connection:
        found = connection.execute(sa.text("SELECT id, project_id, slot FROM webhooks ORDER BY id")).all()
    database.close()
    assert [tuple(row) for row in found] == [
        ("w0", "p", 2),
        ("w1", "q", 0),
        ("w2", "p", 0),
        ("w3", "p", 1),
        ("w4", "q", 1),
    ]


def test_names_of_older_releases_are_replaced(path: Path) -> None:
    database = opened(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"] = connection
        config.attributes["cipher"] = database.cipher
        command.upgrade(config, "0012")
    node = {"instance_id": "i", "shard": 0, "host": "h", "maxmemory": 1, "created_at": 1, "access": "socket"}
    with database.write() as connection:
        for number, (role, wanted) in enumerate([("master", True), ("slave", False)]):
            values = node | {"id": role, "role": role, "wanted": wanted, "port": number, "bus_port": number}
            connection.execute(sa.table("nodes", *map(sa.column, values)).insert().values(values))
        for task_id, wish, hurry in (("a", "run", False), ("b", "pause", True), ("c", "cancel", False)):
            values = {"task_id": task_id, "wish": wish, "parallel": 2, "latency_ceiling_ms": 1.5, "hurry": hurry}
            connection.execute(sa.table("controls", *map(sa.column, values)).insert().values(values))
        connection.execute(
            sa.text("INSERT INTO rates (action, units_per_second, samples) VALUES ('move slots', 2.5, 3)")
        )
    database.migrate()
    with database.read() as connection:
        nodes = [(node.id, node.role, node.should_run) for node in instances.nodes_of(connection, "i")]
        controls = [task_controls.get(connection, task_id) for task_id in "abc"]
        pace = throughput.get(connection, "move slots")
    database.close()
    assert nodes == [("master", "primary", True), ("slave", "replica", False)]
    limits = Control(parallel=2, latency_ceiling_ms=1.5)
    assert controls == [
        limits,
        msgspec.structs.replace(limits, state="paused", mode="fastest"),
        msgspec.structs.replace(limits, state="cancelled"),
    ]
    assert pace is None, "rates of an earlier model mean something else"


def test_reading_the_files_of_an_open_database_leaves_its_locks(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    path = tmp_path / "test.db"
    program = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
    with database.write():
        assert stored_bytes(path).startswith(b"SQLite format 3")
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    database.close()
    assert "database is locked" in other.stderr


def test_a_value_that_was_checked_in_a_write_is_still_so_when_it_is_written(database_url: str) -> None:
    """Eight threads of two processes' worth of connections read a number and write the next: none is lost."""
    databases = [migrated(database_url) for _ in range(2)]
    with databases[0].write() as connection:
        connection.execute(sa.text("INSERT INTO throughput VALUES ('a', 1.0, 0, NULL)"))

    def count(database: Database) -> None:
        for _ in range(25):
            with database.write() as connection:
                samples = connection.execute(sa.text("SELECT samples FROM throughput")).scalar_one()
                time.sleep(0.001)
                connection.execute(sa.text("UPDATE throughput SET samples = :next"), {"next": samples + 1})

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(count, databases[number % 2]) for number in range(8)]:
            future.result()
    with databases[0].read() as connection:
        assert connection.execute(sa.text("SELECT samples FROM throughput")).scalar_one() == 200
    for database in databases:
        database.close()


def test_a_read_sees_one_snapshot(database_url: str) -> None:
    database = migrated(database_url)
    with database.read() as connection:
        before = connection.execute(sa.text("SELECT count(*) FROM throughput")).scalar_one()
        with database.write() as other:
            other.execute(sa.text("INSERT INTO throughput VALUES ('a', 1.0, 0, NULL)"))
        assert connection.execute(sa.text("SELECT count(*) FROM throughput")).scalar_one() == before
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM throughput")).scalar_one() == before + 1
    database.close()


def test_nothing_of_a_write_that_fails_is_stored(database_url: str) -> None:
    database = migrated(database_url)
    twice = "INSERT INTO throughput SELECT 'a', 1.0, 0, 0.5 UNION ALL SELECT 'a', 1.0, 0, 0.5"
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO throughput VALUES ('b', 1.0, 0, NULL)"))
    with pytest.raises(sa.exc.IntegrityError):
        _delete_and_run(database, twice)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT action FROM throughput")).scalars().all() == ["b"]
    database.close()


def _delete_and_run(database: Database, statement: str) -> None:
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM throughput"))
        connection.execute(sa.text(statement))


def test_a_name_is_found_whatever_its_case(database_url: str) -> None:
    database = migrated(database_url)
    with database.write() as connection:
        instances.add(connection, an_instance(name="My-Cache_1"))
        for name, count in (("my-cache", 1), ("CACHE_", 1), ("cachex", 0), ("e%", 0)):
            assert instances.search(connection, "p", offset=0, limit=10, name=name)[0] == count
        assert instances.search(connection, "p", offset=0, limit=10, name="my-cache_1", name_equal=True)[0] == 0
    database.close()


def test_a_text_with_nul_is_stored_and_searched_for(database_url: str) -> None:
    database = migrated(database_url)
    with database.write() as connection:
        throughput.learn(connection, "a\0b", 1.0)
        assert throughput.get(connection, "a\0b") == 1.0
        assert instances.search(connection, "p\0", offset=0, limit=10, name="\0") == (0, [])
    database.close()


def test_a_faulty_statement_is_no_fault_of_the_database(database_url: str) -> None:
    database = migrated(database_url)
    with pytest.raises(sa.exc.DBAPIError), database.read() as connection:
        connection.execute(sa.text("SELECT nothing FROM nowhere"))
    database.close()


def test_a_database_is_described(database_url: str) -> None:
    database = migrated(database_url)
    assert re.fullmatch(
        r"quick_check: ok|PostgreSQL \d.+, all tables can be read, no server performs tasks", database.check()
    )
    database.close()
