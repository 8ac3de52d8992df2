"""What PostgreSQL alone can do to a database: go away, be shared by servers, be reached with a password."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.model.hosts import HostRecord
from cachewright.services.accounts import first_credentials
from cachewright.store import hosts
from cachewright.store import postgres as module
from cachewright.store.database import Database, DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import has_password, open_database, open_in_use, parse_database_url
from database_fixtures import a_report, migrated
from postgres_server import PostgresServer


@pytest.fixture
def settings(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    url = postgres.new_database()
    yield Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=parse_database_url(url))
    postgres.drop_database(url)


def test_a_server_that_is_away_is_told_and_found_again(own_postgres: PostgresServer) -> None:
    database = migrated(own_postgres.new_database())
    for end in (own_postgres.stop, own_postgres.kill):
        end()
        with pytest.raises(DatabaseUnavailable), database.read():
            pass
        with pytest.raises(DatabaseUnavailable), database.write():
            pass
        own_postgres.start()
        with database.write() as connection:
            connection.execute(sa.text("DELETE FROM throughput"))
    with pytest.raises(DatabaseUnavailable):
        _write_while(database, own_postgres.stop)
    own_postgres.start()
    database.close()


def _write_while(database: Database, event: Callable[[], None]) -> None:
    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM throughput"))
        event()
        connection.execute(sa.text("DELETE FROM throughput"))


def test_a_write_lock_that_another_holds_for_too_long_is_told(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SESSION", "SET lock_timeout = '200ms'")
    database = migrated(postgres.new_database())
    with database.write(), pytest.raises(DatabaseUnavailable, match="lock timeout"), database.write():
        pass
    with database.write(), database.read() as connection:
        connection.execute(sa.text("SELECT 1 FROM throughput"))
    database.close()


def test_a_report_of_a_host_needs_no_write_lock(postgres: PostgresServer) -> None:
    """An agent that is cut off in the middle of a transaction with the lock would stop all writers."""
    database = migrated(postgres.new_database())
    with database.write() as connection:
        hosts.add(connection, HostRecord(name="h2", address="", zone="z", state="active", created_at=1))
    found = a_report()

    def is_stored() -> bool:
        with database.statements() as connection:
            return hosts.report(connection, "h2", "127.0.0.2", found)

    with database.write() as connection:
        connection.execute(sa.text("DELETE FROM throughput"))
        assert is_stored()
    for change in ("INSERT INTO stale_nodes VALUES ('n', 'h2', 1)", "UPDATE hosts SET state = 'lost'"):
        with database.write() as connection:
            connection.execute(sa.text("DELETE FROM stale_nodes"))
            connection.execute(sa.text(change))
        assert not is_stored()
    with database.read() as connection:
        record = hosts.get(connection, "h2")
    assert record is not None
    assert (record.address, record.report) == ("127.0.0.2", found)
    database.close()


def test_a_database_that_takes_no_writes_is_unavailable(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    database = migrated(url)
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.engine.dispose()
    with pytest.raises(DatabaseUnavailable, match="read-only"), database.write() as connection:
        connection.execute(sa.text("DELETE FROM throughput"))
    database.close()


def test_a_key_that_is_lost_is_told_and_none_is_made(settings: Settings) -> None:
    database = open_database(settings)
    with database.write() as connection:
        first_credentials(connection)
    database.close()
    settings.key_file.rename(settings.data_dir / "other.key")
    with pytest.raises(WrongKey, match="is missing"):
        open_database(settings)
    assert not settings.key_file.exists()
    settings.key_file.write_bytes(Fernet.generate_key())
    with pytest.raises(WrongKey, match="another key"):
        open_database(settings)


def test_a_database_that_cannot_be_reached_makes_no_key(settings: Settings) -> None:
    away = Settings(data_dir=settings.data_dir, database_url="postgresql+psycopg://u@127.0.0.1:1/d")
    with pytest.raises(DatabaseUnavailable):
        open_database(away)
    assert list(settings.data_dir.iterdir()) == []


def test_a_database_that_no_server_has_used_is_not_in_use(settings: Settings) -> None:
    settings.key_file.write_bytes(Fernet.generate_key())
    with pytest.raises(DatabaseNotReady, match="no server of this release has run on postgresql"):
        open_in_use(settings)


def test_the_password_of_a_url_is_in_no_message(settings: Settings, postgres: PostgresServer) -> None:
    database = open_database(settings)
    assert postgres.password not in database.name
    assert postgres.password not in database.check()
    assert postgres.password not in repr(database.engine)
    database.close()
    wrong = Settings(
        data_dir=settings.data_dir, database_url=str(settings.database_url).replace(":" + postgres.password, ":wrong")
    )
    with pytest.raises(DatabaseUnavailable) as refused:
        open_in_use(wrong)
    assert "wrong" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgres://u:p@h:1/d?sslmode=require", "postgresql+psycopg://u:p@h:1/d?sslmode=require"),
        ("sqlite:////var/lib/c.db", "sqlite:////var/lib/c.db"),
    ],
)
def test_urls_that_are_taken(text: str, url: str) -> None:
    assert parse_database_url(text) == url
    assert has_password(url) == (":p@" in text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "postgresql://u:secret@h:secret/d",
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h",
        "postgresql+asyncpg://u:secret@h/d",
        "postgresql://u@h/d?password=secret",
        "sqlite://",
        "sqlite:///relative.db",
    ],
)
def test_urls_that_are_refused_without_their_password(text: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        parse_database_url(text)
    assert "secret" not in str(refused.value)
