"""TLS between the nodes of an instance: certificates, configuration, and clusters of a server that has TLS."""

import asyncio
import io
import socket
import ssl
import stat
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from valkey.cluster import ValkeyCluster

from caches import cache, load, present, states
from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
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
    authority_certificate,
    expires_at,
    is_usable,
    new_authority,
    node_certificate,
    server_certificate,
    trusted,
    voucher,
)
from cachewright.valkey.config import LISTENER, cluster_settings, nodes_conf, valkey_conf
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.slots import SlotRange
from database_fixtures import an_instance, new_database
from sdk_calls import PASSWORD, created, ended, newest_task, progress, resize, show
from serving import COMMAND, Server, until
from standalone_node import node_at
from tls_binary import TLS_BINARY, needs_tls_binary
from traffic import Traffic

KEYS = 20_000
AUTHORITY = new_authority("i")
PLAIN = msgspec.structs.replace(node_at(7000), access="socket", bus_port=7001)
SECURED = msgspec.structs.replace(PLAIN, tls_port=7002)


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_certificate_is_usable_for_years_and_for_its_own_authority_alone() -> None:
    own, other = node_certificate(AUTHORITY, "n"), node_certificate(AUTHORITY, "n")
    key, certificate = own[: own.index("-----BEGIN CERT")], other[other.index("-----BEGIN CERT") :]
    assert is_usable(own, AUTHORITY)
    assert is_usable(own, AUTHORITY, in_days(4 * 365))
    assert not is_usable(own, AUTHORITY, in_days(6 * 365)), "it is replaced long before it ends"
    assert not is_usable(own, AUTHORITY, in_days(-7)), "it is replaced where the clock was wrong"
    assert not is_usable(own, new_authority("i"))
    assert not is_usable(key + certificate, AUTHORITY), "key and certificate do not belong together"
    for broken in ("", key, own[:-100], "no certificate"):
        assert not is_usable(broken, AUTHORITY)


@pytest.mark.parametrize("stranger", ["none", "of another authority"])
def test_nodes_trust_each_other_and_no_other_program(tmp_path: Path, stranger: str) -> None:
    assert handshake(tmp_path, AUTHORITY)
    assert not handshake(tmp_path, None if stranger == "none" else new_authority("i"))


def handshake(folder: Path, authority: str | None) -> bool:
    """Whether a node of AUTHORITY accepts a peer with a certificate of `authority`, and the peer the node."""
    node, peer = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    node.verify_mode, peer.check_hostname = ssl.CERT_REQUIRED, False
    for context, its in ((node, AUTHORITY), (peer, authority)):
        context.load_verify_locations(cadata=authority_certificate(its or AUTHORITY))
        if its:
            (folder / NODE_FILE).write_text(node_certificate(its, "n"))
            context.load_cert_chain(folder / NODE_FILE)
    ends = socket.socketpair()
    accepted: list[bytes] = []

    def serve() -> None:
        try:
            with node.wrap_socket(ends[0], server_side=True) as connection:
                accepted.append(connection.recv(4))
        except OSError:
            ends[0].close()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with peer.wrap_socket(ends[1]) as connection:
            connection.sendall(b"ping")
    except OSError:
        ends[1].close()
    serving.join()
    return accepted == [b"ping"]


def test_clients_verify_the_address_of_an_instance() -> None:
    pem = server_certificate(AUTHORITY, "127.0.1.1")
    assert expires_at(pem) > in_days(800)
    assert trusted(pem) == authority_certificate(AUTHORITY)
    for name, accepted in (("127.0.1.1", True), ("localhost", True), ("127.0.0.1", False)):
        assert verifies(pem, AUTHORITY, name) is accepted
    assert not verifies(pem, new_authority("i"), "127.0.1.1")


def test_clients_verify_nodes_by_the_authority_of_the_installation() -> None:
    installation = new_authority("caches", below=1)
    chain = voucher(installation, AUTHORITY)
    pem = node_certificate(AUTHORITY, "n", address="10.0.0.5", chain=chain)
    assert verifies(pem, installation, "10.0.0.5")
    assert verifies(pem, AUTHORITY, "10.0.0.5"), "other nodes trust it as before"
    assert not verifies(pem, installation, "10.0.0.6")
    assert not verifies(node_certificate(AUTHORITY, "n", address="10.0.0.5"), installation, "10.0.0.5")
    assert is_usable(pem, AUTHORITY, chain=chain)
    assert not is_usable(node_certificate(AUTHORITY, "n"), AUTHORITY, chain=chain)


def verifies(pem: str, authority: str, name: str) -> bool:
    """Whether a client that trusts `authority`, and checks as strictly as Python 3.13, accepts the server by its
    name."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    client.load_verify_locations(cadata=authority_certificate(authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pem)
        file.flush()
        server.load_cert_chain(file.name)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return ends[0].version() is not None


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
    assert ("tls-port", 7000) in cluster_settings(for_clients)
    assert "tls-port=7000," in nodes_conf(for_clients, 1, SlotRange(0, 1))
    assert for_clients.peer_port == 7000


def test_a_server_without_tls_is_known(tmp_path: Path) -> None:
    assert not has_tls(Settings(data_dir=tmp_path).valkey_binary)
    assert not has_tls(tmp_path / "missing")
    assert not has_tls(Path("/bin/true"))


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
    (folder / NODE_FILE).write_text(node_certificate(AUTHORITY, SECURED.id, in_days(-8 * 365)))
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


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", (*COMMAND, "--valkey-binary", str(TLS_BINARY)))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


@needs_tls_binary
def test_a_cluster_with_tls_is_scaled_and_restarted_while_it_serves(tls_server: Server) -> None:
    client = tls_server.client()
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    writers = [Traffic(number, show(client, instance_id).port) for number in range(2)]
    for writer in writers:
        writer.start()
    until(lambda: all(writer.writes for writer in writers), "nobody writes")
    for shards in (5, 3):
        task_id = resize(client, instance_id, shards, copies=2)
        assert ended(client, instance_id, task_id, seconds=120).status == "SUCCESS"
    assert [writer.errors for writer in writers] == [0, 0], "clients see no error while slots move"
    before = {process.pid for process in tls_server.nodes()}
    assert tls_server.call("PUT", "instances/status", {"instances": [instance_id], "action": "restart"})[0] == 200
    assert ended(client, instance_id, newest_task(client, instance_id).id, seconds=120).status == "SUCCESS"
    assert {process.pid for process in tls_server.nodes()} & before == set()
    for writer in writers:
        writer.finish(cache(client, instance_id))
        assert writer.losses == []
    require_whole(client, instance_id)


@needs_tls_binary
def test_a_node_with_tls_that_dies_is_started_again(tls_server: Server) -> None:
    client = tls_server.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)
    died = tls_server.nodes()[0]
    (folder,) = (
        path.parent
        for path in tls_server.data_dir.glob("nodes/*/valkey.pid")
        if path.read_text().strip() == str(died.pid)
    )
    (folder / NODE_FILE).unlink()
    died.kill()
    until(lambda: len(tls_server.nodes()) == 4 and (folder / NODE_FILE).exists(), "it is not started again")
    until(lambda: is_whole(client, instance_id), "the cluster is not whole again")
    require_whole(client, instance_id)


def secured(client: Any, instance_id: str, authority: Path) -> ValkeyCluster:
    shown = show(client, instance_id)
    trusting = {"ssl": True, "ssl_ca_certs": str(authority)}
    return ValkeyCluster(host=shown.ip, port=shown.port, password=PASSWORD, **trusting)


@needs_tls_binary
def test_clients_of_a_cluster_use_tls(tls_server: Server, tmp_path: Path) -> None:
    client = tls_server.client()
    instance_id = created(client, 2, copies=2)
    load(cache(client, instance_id), KEYS)

    def switch(*, enabled: bool) -> str:
        return str(tls_server.call("PUT", f"instances/{instance_id}/ssl", {"enabled": enabled})[1]["job_id"])

    def is_whole_with_tls() -> bool:
        try:
            return states(secured(client, instance_id, authority)) == {"ok"}
        except Exception:  # whatever the client makes of nodes that are starting
            return False

    task_id = switch(enabled=True)
    until(lambda: progress(client, instance_id, task_id).step_details[-1].step_name == "Post-check.", "no plan")
    tls_server.kill()
    tls_server.start()
    client = tls_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS", tls_server.call("GET", f"tasks/{task_id}")
    assert show(client, instance_id).enable_ssl
    link = tls_server.call("POST", f"instances/{instance_id}/ssl-certs/download")[1]["link"]
    with zipfile.ZipFile(io.BytesIO(httpx.get(link).content)) as archive:
        authority = Path(archive.extract("ca.crt", tmp_path))
    assert present(secured(client, instance_id, authority), KEYS) == KEYS
    assert not is_whole(client, instance_id), "clients without TLS are refused"

    assert ended(client, instance_id, resize(client, instance_id, 3, copies=2)).status == "SUCCESS"
    until(lambda: len(secured(client, instance_id, authority).get_nodes()) == 6, "clients do not find all nodes")
    caches = secured(client, instance_id, authority)
    assert (present(caches, KEYS), links(caches)) == (KEYS, {"up"})
    tls_server.nodes()[0].kill()
    until(lambda: len(tls_server.nodes()) == 6, "it is not started again")
    until(is_whole_with_tls, "the cluster is not whole again")
    assert ended(client, instance_id, switch(enabled=False)).status == "SUCCESS"
    require_whole(client, instance_id)


def is_whole(client: Any, instance_id: str) -> bool:
    try:
        caches = cache(client, instance_id)
        return states(caches) == {"ok"} and links(caches) == {"up"}
    except Exception:  # whatever the client makes of nodes that are starting
        return False


def links(caches: Any) -> set[str]:
    replicas = [node for node in caches.get_nodes() if node.server_type == "replica"]
    return {caches.info("replication", target_nodes=node)["master_link_status"] for node in replicas}


def require_whole(client: Any, instance_id: str) -> None:
    assert show(client, instance_id).status == "RUNNING"
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert links(caches) == {"up"}
    assert present(caches, KEYS) == KEYS
