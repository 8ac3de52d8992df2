"""Certificates of nodes and of instances, and who accepts them."""

import socket
import ssl
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cachewright.valkey.certificates import (
    NODE_FILE,
    authority_certificate,
    client_certificate,
    expires_at,
    is_usable,
    new_authority,
    node_certificate,
    sentinel_certificate,
    server_certificate,
    trusted,
    voucher,
    vouchers,
)

AUTHORITY = new_authority("i")


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_a_certificate_is_usable_for_years_and_for_its_own_authority_alone() -> None:
    own, other = node_certificate(AUTHORITY, "n", "10.0.0.5"), node_certificate(AUTHORITY, "n", "10.0.0.5")
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
            (folder / NODE_FILE).write_text(node_certificate(its, "n", "10.0.0.5"))
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
    pem = node_certificate(AUTHORITY, "n", "10.0.0.5", chain=chain)
    assert verifies(pem, installation, "10.0.0.5")
    assert verifies(pem, AUTHORITY, "10.0.0.5"), "other nodes trust it as before"
    assert not verifies(pem, installation, "10.0.0.6")
    assert not verifies(node_certificate(AUTHORITY, "n", "10.0.0.5"), installation, "10.0.0.5")
    assert is_usable(pem, AUTHORITY, chain=chain)
    assert not is_usable(node_certificate(AUTHORITY, "n", "10.0.0.5"), AUTHORITY, chain=chain)


def test_an_authority_keeps_the_certificates_by_which_sentinels_verify_it() -> None:
    installation = new_authority("caches", below=1)
    chain = voucher(installation, AUTHORITY)
    vouched = AUTHORITY + chain
    assert (vouchers(AUTHORITY), vouchers(vouched)) == ("", chain)
    assert authority_certificate(vouched) == authority_certificate(AUTHORITY)
    pem = node_certificate(vouched, "n", "10.0.0.5", chain=vouchers(vouched))
    assert is_usable(pem, vouched, chain=vouchers(vouched))
    assert verifies(pem, installation, "n"), "sentinels trust the installation"
    assert verifies(pem, AUTHORITY, "n"), "the other nodes trust their own authority"


def test_what_a_sentinel_has_makes_nobody_a_primary() -> None:
    installation, of_sentinels = new_authority("caches", below=1), new_authority("sentinels")
    own = sentinel_certificate(installation, "s")
    assert verifies(own, installation, "s")
    assert not verifies(own, installation, "10.0.0.5"), "it is no instance at the address of the sentinel"
    assert not verifies(own, of_sentinels, "s"), "nodes trust this authority alone"
    assert not verifies(client_certificate(of_sentinels, "s"), of_sentinels, "s"), "it is valid for clients alone"
    assert is_usable(own, authority_certificate(installation))
    assert is_usable(client_certificate(of_sentinels, "s"), of_sentinels)


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
