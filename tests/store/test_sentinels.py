"""Records of sentinels, of those with TLS and of the others."""

from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa

from cachewright.model.sentinels import Sentinel
from cachewright.store import authorities, sentinels
from cachewright.store.database import Database
from database_fixtures import migrated

PLAIN = Sentinel(id="a" * 40, host="10.0.0.1", port=1, secret="first secret", created_at=1)
SECURED = msgspec.structs.replace(PLAIN, id="b" * 40, port=2, authority="key and certificate", host_name="h2")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = migrated(database_url)
    yield opened
    opened.close()


def test_secrets_of_sentinels_are_stored_encrypted(database: Database) -> None:
    with database.write() as connection:
        sentinels.add(connection, [PLAIN, SECURED])
        assert sentinels.fleet(connection) == [PLAIN, SECURED]
        stored = str(connection.execute(sa.text("SELECT * FROM sentinels")).all())
        assert not any(word in stored for word in ("first secret", "key and certificate"))
        assert sentinels.tls_on_host(connection, "h2") == {SECURED.id: True}
        assert sentinels.tls_on_host(connection, "local") == {PLAIN.id: False}


def test_sentinels_with_tls_are_removed_without_the_others(database: Database) -> None:
    with database.write() as connection:
        sentinels.add(connection, [PLAIN, SECURED])
        sentinels.remove(connection, tls=True)
        assert sentinels.fleet(connection) == [PLAIN]
        sentinels.remove(connection, tls=False)
        assert sentinels.fleet(connection) == []


def test_each_authority_has_a_purpose(database: Database) -> None:
    with database.write() as connection:
        authorities.add(connection, "clients", "one")
        assert authorities.find(connection, "sentinels") is None
        authorities.add(connection, "sentinels", "another")
        assert (authorities.find(connection, "clients"), authorities.find(connection, "sentinels")) == (
            "one",
            "another",
        )
