"""Which share of the keys of an instance moves in small batches, and how large they are, learned from its tasks."""

import pytest

from cachewright.operations.resize.small_batches import (
    load_small_batches,
    load_small_shares,
    store_small_batches,
    store_small_shares,
)
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import migrated


def test_shares_are_learned_for_each_instance_and_apart_for_sources_without_clients(database_url: str) -> None:
    database = migrated(database_url)
    migrations = MigrationState(cpus=2)
    migrations.batch_share("a", clients=True).record(30, small=True)
    migrations.batch_share("a", clients=True).record(70, small=False)
    with database.write() as connection:
        store_small_shares(connection, "a", migrations)
        assert load_small_shares(connection, "a") == {True: pytest.approx(0.3), False: 0.0}
        assert load_small_shares(connection, "b") == {True: 1.0, False: 0.0}
        migrations.begin_task("a")
        migrations.batch_share("a", clients=True).record(50, small=True)
        store_small_shares(connection, "a", migrations)
        assert load_small_shares(connection, "a") == {True: pytest.approx(0.65), False: 0.0}
    database.close()


def test_a_source_whose_clients_come_or_go_during_the_task_teaches_for_both_plans(database_url: str) -> None:
    database = migrated(database_url)
    migrations = MigrationState(cpus=2)
    share = migrations.batch_share("a", clients=False)
    share.record(10, small=True)
    share.record(90, small=False)
    with database.write() as connection:
        share.see(clients=False)
        store_small_shares(connection, "a", migrations)
        assert load_small_shares(connection, "a") == {True: 1.0, False: pytest.approx(0.1)}
        share.see(clients=True)
        store_small_shares(connection, "a", migrations)
        assert load_small_shares(connection, "a") == {True: pytest.approx(0.1), False: pytest.approx(0.1)}
        migrations.batch_share("a", clients=True).record(40, small=True)
        store_small_shares(connection, "a", migrations)
        assert load_small_shares(connection, "a") == {True: pytest.approx(0.55), False: pytest.approx(0.1)}
    database.close()


def test_sizes_are_learned_apart_for_targets_that_the_task_adds(database_url: str) -> None:
    database = migrated(database_url)
    migrations = MigrationState(cpus=2)
    with database.write() as connection:
        store_small_batches(connection, "a", migrations)
        assert load_small_batches(connection, "a") == {}
        for keys in (10_000, 30_000):
            migrations.batch_share("a", clients=True).record_small_batch(keys, new_target=True)
        store_small_batches(connection, "a", migrations)
        assert load_small_batches(connection, "a") == {True: 20_000.0, False: 20_000.0}
        migrations.begin_task("a")
        migrations.batch_share("a", clients=True).record_small_batch(40_000, new_target=True)
        migrations.batch_share("a", clients=False).record_small_batch(60_000, new_target=True)
        migrations.batch_share("a", clients=False).record_small_batch(7_000, new_target=False)
        store_small_batches(connection, "a", migrations)
        harmonic = pytest.approx(2 / (1 / 20_000 + 1 / 50_000))
        assert load_small_batches(connection, "a") == {True: harmonic, False: 7_000.0}
        assert load_small_batches(connection, "b") == {True: harmonic, False: 7_000.0}, "those of the installation"
        for _ in range(2):
            migrations.batch_share("b", clients=True).record_small_batch(1_000, new_target=False)
        store_small_batches(connection, "b", migrations)
        assert load_small_batches(connection, "b") == {True: 1_000.0, False: 1_000.0}
    database.close()
