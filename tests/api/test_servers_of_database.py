"""Servers over HTTP: who may see them, and what is told of them."""

from collections.abc import Iterator

import pytest
from tenants import Site, Tenant

from cachewright.clock import now_ms
from cachewright.model.servers import ServerRecord
from cachewright.store import server_records


@pytest.fixture
def reported(site: Site) -> Iterator[Site]:
    """Two servers, of which one has not reported for a minute."""
    now = now_ms()
    alive = ServerRecord(
        id="a", machine="m1", pid=1, release="1.0", listen="127.0.0.1:1", started_at=now - 90_000, seen_at=now
    )
    silent = ServerRecord(
        id="b", machine="m2", pid=2, release="1.0", listen="127.0.0.1:2", started_at=now, seen_at=now - 60_000
    )
    with site.database.write() as connection:
        server_records.saw(connection, silent)
        server_records.saw(connection, alive)
    yield site
    with site.database.write() as connection:
        server_records.forget(connection, "a")
        server_records.forget(connection, "b")


def test_an_admin_sees_servers_and_their_latest_reports(reported: Site, tenant: Tenant) -> None:
    answer = tenant.call("GET", "servers")
    assert answer.status == 200
    assert (answer.json["epoch"], answer.json["takeovers"]) == (0, [])
    first, second = answer.json["servers"]
    assert (first["id"], first["machine"], first["pid"], first["listen"]) == ("a", "m1", 1, "127.0.0.1:1")
    assert (first["reporting"], first["performs_tasks"], first["epoch"]) == (True, True, None)
    assert (second["id"], second["reporting"], second["performs_tasks"]) == ("b", False, False)
    assert first["seen_seconds"] < 30
    assert second["seen_seconds"] >= 60
    for role in ("viewer", "operator"):
        assert tenant.colleague(role).call("GET", "servers").refusal == (403, "DCS.2007")
