"""TLS in the record, in the files of nodes, and in the renewal of certificates."""

import asyncio
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts import server_binary
from cachewright.hosts.local import LocalHost
from cachewright.hosts.server_binary import has_tls
from cachewright.model.instances import Instance, Node
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.proxy_watch import ProxyWatch
from cachewright.operations.client_certificates import is_due, issue
from cachewright.operations.context import OperationContext
from cachewright.services.instance_queries import count_by_tls
from cachewright.store import instances
from cachewright.valkey.access import Access
from cachewright.valkey.certificates import (
    CA_FILE,
    NODE_FILE,
    expires_at,
    is_usable,
    new_authority,
    node_certificate,
    server_certificate,
    trusted,
)
from cachewright.valkey.config import LISTENER, cluster_settings, nodes_conf, valkey_conf
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.slots import SlotRange
from database_fixtures import an_instance, new_database
from standalone_node import node_at
from tls_binary import TLS_BINARY, needs_tls_binary

AUTHORITY = new_authority("i")
PLAIN = msgspec.structs.replace(node_at(7000), access="socket", bus_port=7001)
SECURED = msgspec.structs.replace(PLAIN, tls_port=7002)


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


HOUR, DAY = 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("days", "hour", "due"), [(-400, 3, False), (-300, 3, True), (-300, 7, False), (-20, 7, True), (1, 12, True)]
)
def test_certificates_of_clients_are_renewed_in_the_maintenance_window(days: int, hour: int, due: bool) -> None:
    pem = server_certificate(AUTHORITY, "127.0.0.1")
    window = {"maintain_begin": "02:00:00", "maintain_end": "06:00:00"}
    instance = an_instance(server_certificate=pem, attributes=window)
    end = int(expires_at(pem).timestamp() * 1000)
    now = (end // DAY + days) * DAY + hour * HOUR
    assert is_due(instance, now) is due
    assert not is_due(msgspec.structs.replace(instance, server_certificate=None), now)


async def test_a_certificate_that_ends_soon_is_renewed(site: OperationContext) -> None:
    ending = server_certificate(new_authority("former"), "127.0.0.1", in_days(-800))
    instance = an_instance(spec_code="redis.single.xu1.large.1", server_certificate=ending)
    with site.database.write() as connection:
        instances.add(connection, instance)
        instances.add_nodes(connection, [PLAIN])

    def present() -> str | None:
        with site.database.read() as connection:
            found = instances.find(connection, "i")
        return found and found.server_certificate

    beats = LoopHeartbeats()
    watch = asyncio.create_task(ProxyWatch(site, Incidents(site.database, beats), beats).run())
    while present() == ending and not watch.done():
        await asyncio.sleep(0.01)
    watch.cancel()
    renewed = present()
    assert renewed
    assert expires_at(renewed) > in_days(800)


def test_only_nodes_with_a_tls_port_are_configured_for_it() -> None:
    access = Access("secret", None, Path())
    assert "tls" not in valkey_conf(PLAIN, access, {}, cluster_settings(PLAIN), [])
    lines = valkey_conf(SECURED, access, {"tls-auth-clients": "no"}, cluster_settings(SECURED), []).splitlines()
    settings = dict(line.split(" ", 1) for line in lines)
    assert (
        settings.items()
        >= {
            "port": "7000",
            "tls-port": "7002",
            "tls-cluster": "yes",
            "tls-replication": "yes",
            "tls-auth-clients": "yes",
        }.items()
    )
    assert {settings["tls-cert-file"], settings["tls-key-file"], settings["tls-ca-cert-file"]} == {NODE_FILE, CA_FILE}
    assert "127.0.0.1:7000@7001,,tls-port=7002," in nodes_conf(SECURED, 1, SlotRange(0, 1))
    assert "tls-port=7002" not in nodes_conf(PLAIN, 1, SlotRange(0, 1))
    assert (PLAIN.peer_port, SECURED.peer_port) == (7000, 7002)
    for_clients = msgspec.structs.replace(SECURED, client_tls=True)
    assert "tls-port 7000\n" in valkey_conf(for_clients, access, {}, cluster_settings(for_clients), [])
    assert "tls-port=7000," in nodes_conf(for_clients, 1, SlotRange(0, 1))
    assert for_clients.peer_port == 7000


def test_a_server_without_tls_is_known(tmp_path: Path) -> None:
    assert not has_tls(Settings(data_dir=tmp_path).valkey_binary)
    assert not has_tls(tmp_path / "missing")
    assert not has_tls(Path("/bin/true"))


def test_a_server_that_was_too_slow_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary, slow = tmp_path / "valkey-server", tmp_path / "slow"
    binary.write_text(f"#!/bin/sh\n[ ! -e {slow} ] || exec sleep 600\necho No tls-cert-file configured\n")
    binary.chmod(0o755)
    slow.touch()
    with monkeypatch.context() as patched:
        patched.setattr(server_binary, "_SECONDS", 0.5)
        assert not has_tls(binary)
    slow.unlink()
    assert has_tls(binary)


@needs_tls_binary
def test_a_server_with_tls_is_known() -> None:
    assert has_tls(TLS_BINARY)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OperationContext]:
    settings = Settings(data_dir=tmp_path)
    database = new_database(tmp_path)
    yield OperationContext(database, settings, LocalHost(settings), MigrationState(cpus=2))
    database.close()


def store(site: OperationContext, node_ca: str | None, node: Node) -> Instance:
    instance = an_instance(node_ca=node_ca)
    with site.database.write() as connection:
        instances.add(connection, instance)
        instances.add_nodes(connection, [node])
    return instance


def test_the_authority_is_sealed_and_the_port_is_taken(site: OperationContext) -> None:
    instance_port = store(site, AUTHORITY, SECURED).seed_port
    with site.database.read() as connection:
        sealed = connection.execute(sa.text("SELECT node_ca FROM instances")).scalar_one()
        found = instances.find(connection, "i")
        assert instances.taken_ports(connection)["127.0.0.1"] == {instance_port, 7000, 7001, 7002}
        assert count_by_tls(connection) == (1, 0)
    with site.database.write() as connection:
        first, second = (issue(connection, "127.0.0.1") for _ in range(2))
        instances.change_certificate(connection, "i", second)
        sealed += connection.execute(sa.text("SELECT server_certificate FROM instances")).scalar_one()
        sealed += connection.execute(sa.text("SELECT secret FROM certificate_authorities")).scalar_one()
        changed = instances.find(connection, "i")
        assert changed
        assert changed.server_certificate == second != first
        assert trusted(first) == trusted(second), "there is one authority"
    assert "PRIVATE KEY" not in sealed
    assert found
    assert found.node_ca == AUTHORITY


async def test_a_node_gets_its_certificate_once_and_another_when_it_is_of_no_use(site: OperationContext) -> None:
    instance = store(site, AUTHORITY, SECURED)
    await site.host.write_files(SECURED.id, await site.files(instance, SECURED))
    folder = site.settings.nodes_dir / SECURED.id
    assert {path.name for path in folder.iterdir()} == {"valkey.conf", LISTENER, NODE_FILE, CA_FILE}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    first = (folder / NODE_FILE).read_text()
    assert "PRIVATE KEY" not in (folder / CA_FILE).read_text()
    assert (await site.files(instance, SECURED)).keys() == {"valkey.conf", LISTENER}
    await site.prepare_start("i", SECURED.id)
    assert (folder / NODE_FILE).read_text() == first
    (folder / NODE_FILE).write_text(node_certificate(AUTHORITY, SECURED.id, SECURED.host, in_days(-8 * 365)))
    await site.prepare_start("i", SECURED.id)
    assert is_usable((folder / NODE_FILE).read_text(), AUTHORITY)


async def test_nodes_that_talk_in_clear_get_no_certificates(site: OperationContext) -> None:
    instance = store(site, None, PLAIN)
    assert (await site.files(instance, PLAIN)).keys() == {"valkey.conf", LISTENER}
    await site.host.write_files(PLAIN.id, await site.files(instance, PLAIN))
    await site.prepare_start("i", PLAIN.id)
    await site.prepare_start("i", "gone")
    assert {path.name for path in (site.settings.nodes_dir / PLAIN.id).iterdir()} == {"valkey.conf", LISTENER}
    assert not (site.settings.nodes_dir / "gone").exists()
