"""Servers on one PostgreSQL database: which of them performs tasks, and what the others cannot do."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as some

from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.store import instances, server_claims
from cachewright.store.claim import LeasedClaim, new_session_name
from cachewright.store.database import DatabaseNotReady
from cachewright.store.opening import open_database, parse_database_url
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.server_claims import RENEW_SECONDS, REPLACE_SECONDS, VALID_SECONDS, ClaimWatch, ServerClaim
from cachewright.store.transactions import current_revision
from database_fixtures import an_instance, migrated, opened
from postgres_server import PostgresServer
from serving import until
from standalone_node import node_at


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Servers:
    """Claims of several servers on one database, whose clock the test sets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock()
        self.ended: list[str] = []
        self._databases: list[PostgresDatabase] = []
        migrated(url).close()

    def new(self, server_id: str) -> tuple[PostgresDatabase, LeasedClaim]:
        database = opened(self.url, session := new_session_name())
        assert isinstance(database, PostgresDatabase)
        claim = LeasedClaim(
            database, server_id, session, end_process=lambda _: self.ended.append(server_id), clock=self.clock
        )
        database.claim = claim
        self._databases.append(database)
        return database, claim

    def close(self) -> None:
        for database in self._databases:
            database.close()


@pytest.fixture
def servers(postgres: PostgresServer) -> Iterator[Servers]:
    url = postgres.new_database()
    made = Servers(url)
    yield made
    made.close()
    postgres.drop_database(url)


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    made = postgres.new_database()
    yield made
    postgres.drop_database(made)


def settings_of(url: str, folder: Path, key: bytes | None = None) -> Settings:
    folder.mkdir(mode=0o700)
    settings = Settings(data_dir=folder, database_url=parse_database_url(url))
    if key:
        settings.key_file.write_bytes(key)
    return settings


def held_by(server_id: str, *, renewals: int = 0, is_released: bool = False) -> ServerClaim:
    return ServerClaim(
        epoch=1, server_id=server_id, session="s", machine="m", renewals=renewals, is_released=is_released
    )


def test_a_holder_relies_on_its_claim_for_a_shorter_time_than_others_wait() -> None:
    assert 2 * RENEW_SECONDS < VALID_SECONDS < REPLACE_SECONDS < 15


@given(looks=some.lists(some.tuples(some.integers(1, 5), some.sampled_from(["renewed", "silent", "unread", "late"]))))
def test_a_claim_is_taken_only_after_it_was_seen_unchanged_for_long_enough(looks: list[tuple[int, str]]) -> None:
    clock, renewals = Clock(), 0
    watch = ClaimWatch("b", clock)
    first_seen: float | None = None
    for seconds, event in looks:
        clock.now += seconds
        if event == "unread":
            watch.missed()
            first_seen = None
            continue
        renewals += event == "renewed"
        first_seen = clock.now if event in {"renewed", "late"} or first_seen is None else first_seen
        asked_at = clock.now - RENEW_SECONDS - 0.1 if event == "late" else clock.now
        may_take = watch.may_take(held_by("a", renewals=renewals), asked_at, has_sessions=True)
        assert may_take == (clock.now - first_seen >= REPLACE_SECONDS)


def test_a_claim_is_taken_without_waiting_from_a_server_that_has_ended() -> None:
    clock = Clock()
    assert ClaimWatch("b", clock).may_take(held_by("a", is_released=True), clock.now, has_sessions=True)
    assert ClaimWatch("a", clock).may_take(held_by("a"), clock.now, has_sessions=False)
    assert not ClaimWatch("a", clock).may_take(held_by("a"), clock.now, has_sessions=True)


def test_one_server_has_the_claim_until_it_releases_it(servers: Servers) -> None:
    (_, first), (_, second) = servers.new("a"), servers.new("b")
    assert first.try_take()
    servers.clock.now += REPLACE_SECONDS - 1
    assert not second.try_take()
    assert (first.epoch, second.epoch) == (1, None)
    first.stop()
    assert second.try_take()
    assert second.epoch == 2


def test_a_server_that_was_replaced_changes_nothing_and_ends(servers: Servers) -> None:
    (frozen, first), (other, second) = servers.new("a"), servers.new("b")
    assert first.try_take()
    assert not second.try_take()
    first.require()
    servers.clock.now += VALID_SECONDS + 0.1
    with pytest.raises(DatabaseUnavailable, match="claim"):
        first.require()
    assert not second.try_take()
    with frozen.engine.connect() as holding:
        holding.execute(sa.text("LOCK TABLE server_coordination IN EXCLUSIVE MODE"))
        servers.clock.now += REPLACE_SECONDS
        assert second.try_take(), "a process that is frozen in a write keeps the lock"
        holding.invalidate()
    second.require()
    with pytest.raises(DatabaseUnavailable), frozen.write() as connection:
        instances.add(connection, an_instance())
    assert servers.ended == ["a"]
    with other.write() as connection:
        assert instances.find(connection, "i") is None
        instances.add(connection, an_instance())
    assert servers.ended == ["a"]


def test_what_a_server_has_begun_it_ends_until_it_may_be_replaced(servers: Servers) -> None:
    _, claim = servers.new("a")
    assert claim.try_take()
    servers.clock.now += VALID_SECONDS + 0.1
    with pytest.raises(DatabaseUnavailable, match="7 s"):
        claim.require()
    claim.require(ending=True)
    servers.clock.now += REPLACE_SECONDS - VALID_SECONDS
    with pytest.raises(DatabaseUnavailable, match="9 s"):
        claim.require(ending=True)
    servers.clock.now -= REPLACE_SECONDS
    claim.require()
    claim.stop()
    with pytest.raises(DatabaseUnavailable, match="stopping"):
        claim.require(ending=True)


def test_a_server_that_renews_its_claim_in_the_last_moment_keeps_its_sessions(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (database, first), (_, second) = servers.new("a"), servers.new("b")
    assert first.try_take()
    assert not second.try_take()
    servers.clock.now += REPLACE_SECONDS

    def renewed_meanwhile() -> int:
        with database.write() as connection:
            assert server_claims.renew(connection, 1, server_claims.get(connection).session)
        return 0

    monkeypatch.setattr(second, "nodes_out_of_reach", renewed_meanwhile)
    with database.engine.connect() as open_session:
        open_session.execute(sa.text("SELECT 1"))
        assert not second.try_take()
        open_session.execute(sa.text("SELECT 1"))
    assert not servers.ended


def test_an_epoch_that_comes_again_is_that_of_another_server(servers: Servers) -> None:
    """As after the database was restored from a backup."""
    (database, claim), (other, _) = servers.new("a"), servers.new("b")
    assert claim.try_take()
    with psycopg.connect(servers.url, autocommit=True) as connection:
        connection.execute("UPDATE server_claims SET session = 'of another server'")
    with pytest.raises(DatabaseUnavailable), database.write() as writing:
        instances.add(writing, an_instance())
    assert servers.ended == ["a"]
    with other.write() as writing:
        assert not server_claims.renew(writing, 1, "of a")


def test_a_server_without_the_claim_writes_what_is_requested(servers: Servers) -> None:
    (_, first), (standby, second) = servers.new("a"), servers.new("b")
    assert first.try_take()
    with standby.write() as connection:
        instances.add(connection, an_instance())
    second.require()
    assert not servers.ended


def test_a_restarted_server_has_its_claim_again_without_waiting(servers: Servers) -> None:
    (_, killed), (_, restarted) = servers.new("a"), servers.new("a")
    assert killed.try_take()
    assert not restarted.try_take(), "the data directory of a server that runs was copied"
    end_sessions(servers.url)
    assert restarted.try_take()
    assert restarted.epoch == 2


def end_sessions(url: str) -> None:
    """End the sessions of the holder of the claim, as when its process is killed."""
    of_holder = "FROM pg_stat_activity JOIN server_claims ON application_name = session"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {of_holder}")
        left = f"SELECT count(*) {of_holder}"
        until(lambda: connection.execute(left).fetchone() == (0,), "the sessions end")


def test_a_server_does_not_take_over_nodes_that_it_cannot_reach(servers: Servers) -> None:
    (database, first), (_, second) = servers.new("a"), servers.new("b")
    assert first.try_take()
    store_own_node(database)
    assert not second.try_take()
    servers.clock.now += REPLACE_SECONDS
    assert not second.try_take()
    assert second.nodes_out_of_reach() == 1
    assert second.try_take(with_own_nodes=True)


def store_own_node(database: PostgresDatabase) -> None:
    node: Node = node_at(10001)
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [node])


def test_servers_join_a_database_and_one_after_another_has_the_claim(url: str, tmp_path: Path) -> None:
    own = settings_of(url, tmp_path / "a")
    first = open_database(own)
    second = open_database(settings_of(url, tmp_path / "b", own.key_file.read_bytes()))
    assert (own.data_dir / "server.id").stat().st_mode & 0o777 == 0o600
    assert (first.claim.is_held, second.claim.is_held) == (True, False)
    first.close()
    until(lambda: second.claim.is_held, "the claim is taken")
    with second.write() as connection:
        assert server_claims.get(connection).epoch == second.claim.epoch == 2
    second.close()


def test_a_second_server_needs_nodes_with_agents(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cachewright.store.servers.REPLACE_SECONDS", 0)
    own = settings_of(url, tmp_path / "a")
    first = open_database(own)
    assert isinstance(first, PostgresDatabase)
    store_own_node(first)
    with pytest.raises(DatabaseNotReady, match=r"another server runs on .* and 1 nodes on its machine"):
        open_database(settings_of(url, tmp_path / "b", own.key_file.read_bytes()))
    first.close()
    with_nodes = open_database(settings_of(url, tmp_path / "c", own.key_file.read_bytes()))
    assert with_nodes.claim.is_held, "the first server has ended, and its nodes may be lost"
    with_nodes.close()


def test_a_server_waits_until_an_earlier_release_has_stopped(url: str, tmp_path: Path) -> None:
    opening = []
    with psycopg.connect(url, autocommit=True) as earlier:
        earlier.execute("SELECT pg_advisory_lock(%s, 2)", (0x43414348,))
        own = settings_of(url, tmp_path / "a")
        waiting = threading.Thread(target=lambda: opening.append(open_database(own)), daemon=True)
        waiting.start()
        tries = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()"
        )
        until(lambda: earlier.execute(tries).fetchone() != (0,), "it tries to take the lock")
        assert earlier.execute("SELECT to_regclass('instances')").fetchone() == (None,)
        assert not opening
    waiting.join()
    (database,) = opening
    assert (database.claim.is_held, database.revision()) == (True, current_revision())
    database.close()


def test_a_server_refuses_tables_of_a_later_release(url: str, tmp_path: Path) -> None:
    own = settings_of(url, tmp_path / "a")
    open_database(own).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseNotReady, match="upgrade this server"):
        open_database(own)
