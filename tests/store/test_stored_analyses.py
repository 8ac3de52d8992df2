"""Analyses of keys in both databases: which are kept, what is replaced, and that names of keys are encrypted."""

import sqlalchemy as sa

from cachewright.model.key_analyses import MOST_KEPT, FoundKey, KeyAnalysis
from cachewright.store import key_analyses
from database_fixtures import migrated


def key(name: str, address: str) -> FoundKey:
    return FoundKey(name=name, type="list", database=0, size=len(name), address=address)


def test_analyses_are_stored_encrypted_completed_by_shard_and_limited_in_number(database_url: str) -> None:
    database = migrated(database_url)
    with database.write() as connection:
        for number in range(MOST_KEPT + 2):
            added = KeyAnalysis(id=f"a-{number:03}", instance_id="i", subject="big", created_at=number // 2)
            key_analyses.add(connection, added)
        pruned = KeyAnalysis(id="a-000", instance_id="i", subject="big", created_at=0)
        key_analyses.add(connection, pruned)  # its task is repeated
        assert key_analyses.find(connection, "i", "big", "a-000") == pruned
        key_analyses.add(connection, KeyAnalysis(id="a-102", instance_id="i", subject="big", created_at=99))
        key_analyses.add(connection, KeyAnalysis(id="hot", instance_id="i", subject="hot", created_at=0))
        kept = key_analyses.of_instance(connection, "i", "big")
        assert [kept[0].id, kept[-1].id, len(kept)] == ["a-102", "a-003", MOST_KEPT]
        newest = kept[0].id
        for names in (("one",), ("other", "baskets")):  # the second attempt of a shard
            key_analyses.store_found(connection, newest, "x", tuple(key(name, "x") for name in names))
        key_analyses.store_found(connection, newest, "y", (key("y", "y"),))
        key_analyses.store_found(connection, "missing", "y", (key("y", "y"),))
    with database.read() as connection:
        analysis = key_analyses.find(connection, "i", "big", newest)
        assert analysis is not None
        assert [found.name for found in analysis.found] == ["baskets", "other", "y"]
        assert key_analyses.find(connection, "i", "hot", newest) is None
        stored = connection.execute(sa.text("SELECT found FROM key_analyses")).scalars().all()
        assert not [text for text in stored if "baskets" in text]
    with database.write() as connection:
        key_analyses.remove_of_instance(connection, "i")
        assert key_analyses.of_instance(connection, "i", "hot") == []
    database.close()
