"""Other users of this machine, who have neither a password nor a certificate, against the caches."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_server import foreign_server, settings_of_nodes
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from valkey import Valkey

from caches import cache, load, operator_of, present, states
from cachewright.config import Settings
from cachewright.valkey.certificates import CA_FILE, NODE_FILE, authority_certificate, new_authority, node_certificate
from network_namespace import run_in_namespace
from sdk_calls import create, created
from serving import COMMAND, Server, until
from tls_binary import TLS_BINARY, needs_tls_binary

KEYS = 3000


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", (*COMMAND, "--valkey-binary", str(TLS_BINARY)))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def require_untouched(server: Server, client: Any, instance_id: str) -> None:
    """The cluster has its own members alone, and all its keys."""
    nodes = settings_of_nodes(server)
    for settings in nodes.values():
        with operator_of(server, "127.0.0.1", int(settings["port"]), decode_responses=True) as node:
            known = {line["node_id"] for line in node.execute_command("CLUSTER NODES").values()}
        assert known == nodes.keys()
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert present(caches, KEYS) == KEYS


@needs_tls_binary
def test_a_server_without_a_certificate_of_the_instance_cannot_join_its_cluster(tls_server: Server) -> None:
    client = tls_server.client()
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    authority = new_authority("another")
    files = {NODE_FILE: node_certificate(authority, "another", "127.0.0.1"), CA_FILE: authority_certificate(authority)}
    with_tls = ("--tls-cluster", "yes", "--tls-replication", "yes", "--tls-ca-cert-file", CA_FILE)
    with_tls += ("--tls-cert-file", NODE_FILE, "--tls-key-file", NODE_FILE)
    with foreign_server() as plain, foreign_server(*with_tls, binary=TLS_BINARY, files=files) as other:
        for settings in settings_of_nodes(tls_server).values():
            plain.meet(settings)
            other.meet(settings)
        until(lambda: plain.has_given_up() and other.has_given_up(), "a foreign server goes on to ask")
        assert plain.members() | other.members() == set()
    require_untouched(tls_server, client, instance_id)


@needs_tls_binary
def test_ports_between_nodes_answer_nobody_without_a_certificate(tls_server: Server) -> None:
    client = tls_server.client()
    created(client, 1, copies=2)
    for settings in settings_of_nodes(tls_server).values():
        for port in (int(settings["cluster-port"]), int(settings["tls-port"])):
            with pytest.raises(OSError, match=r"(?i)certificate required|reset by peer|eof"):
                ask_without_certificate(port)


def ask_without_certificate(port: int) -> bytes:
    """What the port answers to a client that trusts everybody and has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"PING\r\n")
        return connection.recv(100)


@needs_tls_binary
def test_a_program_on_the_port_of_a_node_that_is_down_learns_no_secret(tls_server: Server) -> None:
    """Replicas sign in to their primary again and again. Over TLS they do so only to a node of the instance."""
    client = tls_server.client()
    created(client, 1, copies=2)
    primary, settings = next((node, conf) for node, conf in settings_of_nodes(tls_server).items() if leads(conf))
    down = next(process for process in tls_server.nodes() if any(primary in word for word in process.info["cmdline"]))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        down.kill()
        until(lambda: takes(listener, int(settings["tls-port"])), "the port is not free")
        listener.listen()
        listener.settimeout(30)
        caught, _ = listener.accept()
        with caught:
            caught.settimeout(30)
            received = caught.recv(100)
    assert received[:1] == b"\x16", "a TLS handshake, and nothing in clear"


def leads(settings: dict[str, str]) -> bool:
    password = settings["primaryauth"].strip('"')
    with Valkey(port=int(settings["port"]), username="cachewright", password=password) as node:
        return bool(node.role()[0] == b"master")


def takes(listener: socket.socket, port: int) -> bool:
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_server_without_tls_says_what_other_users_can_do(server: Server) -> None:
    warnings = [line for line in server.log().splitlines() if "join the cluster bus" in line]
    assert len(warnings) == 1
    assert "docs/host-users.md" in warnings[0]


@needs_tls_binary
def test_a_server_with_tls_names_the_instances_that_lack_it(own_server: Server) -> None:
    assert own_server.refusal()[0] == 1  # it runs
    created(own_server.client(), 1)
    own_server.stop()
    own_server.command = (*COMMAND, "--valkey-binary", str(TLS_BINARY))
    own_server.start()
    assert "1 instance was created without TLS between nodes" in own_server.log()
    created(own_server.client(), 1)
    own_server.stop()
    own_server.command = COMMAND
    own_server.start()
    assert "1 instance needs a valkey-server with TLS" in own_server.log()


def test_clients_are_not_given_a_port_of_the_cluster_bus(server: Server) -> None:
    with pytest.raises(SdkException, match="for the cluster bus") as refused:
        create(server.client(), 1, port=Settings(data_dir=Path()).bus_ports[0])
    assert refused.value.error_code == "DCS.4062"


def test_ports_for_clients_and_for_the_bus_may_not_overlap(tmp_path: Path) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, "--bus-ports", "19000-21000")).refusal()
    assert (code, "--bus-ports 19000-21000 overlaps 10240-19999" in said) == (1, True)


def test_the_firewall_keeps_other_users_from_the_bus(tmp_path: Path) -> None:
    run_in_namespace(Path(__file__).with_name("firewalled.py"), tmp_path / "data")
