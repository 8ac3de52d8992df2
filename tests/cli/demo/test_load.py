"""Loading, and detection of lost or changed keys, on a real cluster."""

import time

import pytest
from valkey.cluster import ValkeyCluster

from cachewright.cli.demo.content import DataSet, Kind, key
from cachewright.cli.demo.load import load, verify
from cachewright.cli.demo.slot_client import Seed, SlotClient

DATA = DataSet(keys=500, expires_at=int(time.time()) + 3600, large_bytes=400_000)


@pytest.fixture
def loaded(seed: Seed) -> Seed:
    with SlotClient(seed) as owners:
        load(owners, DATA, lambda _: None)
    return seed


def check(seed: Seed) -> tuple[int, int]:
    with SlotClient(seed) as owners:
        found = verify(owners, DATA, lambda _: None)
    assert found.checked == DATA.keys
    assert len(found.examples) == min(found.missing + found.changed, 5)
    return found.missing, found.changed


def cluster_client(seed: Seed) -> ValkeyCluster:
    return ValkeyCluster(host=seed.host, port=seed.port, password=seed.password)


def first(kind: Kind, *, large: bool = False) -> bytes:
    return key(next(number for number in range(0 if large else 4, DATA.keys) if DATA.kind(number) is kind))


def test_what_was_loaded_is_found_again(loaded: Seed) -> None:
    assert check(loaded) == (0, 0)
    with cluster_client(loaded) as client:
        assert sum(client.dbsize(target_nodes=node) for node in client.get_primaries()) == DATA.keys


def test_loading_tells_how_far_it_is(seed: Seed) -> None:
    told: list[int] = []
    with SlotClient(seed) as owners:
        load(owners, DataSet(keys=4500, expires_at=DATA.expires_at, large_bytes=1000), told.append)
    assert told == [2000, 4000]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SET])
def test_a_missing_key_is_found(loaded: Seed, kind: Kind) -> None:
    with cluster_client(loaded) as client:
        client.delete(first(kind))
    assert check(loaded) == (1, 0)


def test_an_empty_cluster_misses_everything(seed: Seed) -> None:
    assert check(seed) == (DATA.keys, 0)


@pytest.mark.parametrize(
    ("kind", "large", "words"),
    [
        (Kind.TEXT, False, ("SETRANGE", 199, "!")),
        (Kind.EXPIRING, False, ("PERSIST",)),
        (Kind.HASH, False, ("HSET", "f3", "other")),
        (Kind.LIST, False, ("LPUSH", "more")),
        (Kind.SORTED, False, ("ZADD", 7, "more")),
        (Kind.HASH, True, ("HDEL", "f1500")),
        (Kind.LIST, True, ("LSET", 1500, "other")),
        (Kind.SET, True, ("SPOP",)),
        (Kind.SORTED, True, ("ZPOPMAX",)),
    ],
)
def test_a_changed_key_is_found(loaded: Seed, kind: Kind, large: bool, words: tuple[object, ...]) -> None:
    with cluster_client(loaded) as client:
        client.execute_command(words[0], first(kind, large=large), *words[1:])
    assert check(loaded) == (0, 1)
