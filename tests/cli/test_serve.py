"""`cachewright serve`: HTTPS, and what it says when it cannot start."""

import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trustme
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkdcs.v2 import DcsClient, ListInstancesRequest

from serving import COMMAND, Server

OPEN_CONNECTIONS = 300


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> tuple[Path, Path, Path]:
    """Paths of a certificate for this machine, of its key, and of who has signed it."""
    issued = authority.issue_cert("127.0.0.1", "localhost")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    return cert, key, ca


@pytest.fixture
def secure(tmp_path: Path, files: tuple[Path, Path, Path]) -> Iterator[Server]:
    server = Server(tmp_path / "data", (*COMMAND, "--tls-cert", str(files[0]), "--tls-key", str(files[1])))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def test_the_clouds_client_speaks_https(secure: Server, files: tuple[Path, Path, Path]) -> None:
    known = secure.credentials
    assert known["endpoint"].startswith("https://")
    signer = BasicCredentials(known["access_key"], known["secret_key"], known["project_id"])
    trusting = HttpConfig(ssl_ca_cert=str(files[2]))
    builder = DcsClient.new_builder().with_http_config(trusting).with_credentials(signer)
    assert builder.with_endpoint(known["endpoint"]).build().list_instances(ListInstancesRequest()).instance_num == 0
    with pytest.raises(httpx.HTTPError):
        httpx.get(known["endpoint"].replace("https", "http"), timeout=60)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(known["endpoint"], timeout=60)


def test_who_keeps_connections_open_keeps_nobody_out(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        server.start()
        with ExitStack() as open_ones:
            for _ in range(OPEN_CONNECTIONS):
                connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                connection.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
            assert server.call("GET", "instances")[0] == 200
    finally:
        server.clean_up()


def test_a_certificate_that_does_not_fit_is_refused_in_a_line(
    tmp_path: Path, authority: trustme.CA, files: tuple[Path, Path, Path]
) -> None:
    cert, key, _ = files
    other = tmp_path / "other.pem"
    authority.issue_cert("localhost").private_key_pem.write_to_path(other)
    assert "must be given together" in refusal(tmp_path, "--tls-cert", cert)
    assert "KEY_VALUES_MISMATCH" in refusal(tmp_path, "--tls-cert", cert, "--tls-key", other)
    assert "No such file" in refusal(tmp_path, "--tls-cert", tmp_path / "none", "--tls-key", key)


def refusal(tmp_path: Path, *words: object) -> str:
    code, said = Server(tmp_path / "data", (*COMMAND, *map(str, words))).refusal()
    assert code == 1
    assert said.startswith("cachewright: ")
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()
    return said


def test_a_second_server_on_one_folder_is_refused(own_server: Server) -> None:
    code, said = Server(own_server.data_dir).refusal()
    assert (code, said) == (1, f"cachewright: another server runs on {own_server.data_dir}\n")


def test_what_holds_secrets_is_its_owners_alone(own_server: Server) -> None:
    files = [*own_server.data_dir.glob("cachewright.db*"), own_server.data_dir / "credentials.json"]
    assert len(files) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(own_server.data_dir.stat().st_mode) == 0o700
    assert own_server.credentials["secret_key"] not in own_server.log()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--valkey-binary", "/nonexistent"), "/nonexistent does not run"),
        (("--valkey-binary", "/bin/true"), "/bin/true is not a valkey-server"),
        (("--change-rate-limit", "1/second;2/minute"), "invalid rate '1/second;2/minute'"),
        (("--secret-key-file", "/nonexistent/key"), "cannot use /nonexistent/key: No such file or directory"),
        (("--secret-key-file", "/dev/null"), "/dev/null: it is empty"),
        (("--trusted-proxy", "0.0.0.0/0"), "--trusted-proxy 0.0.0.0/0 would trust all addresses"),
        (("--node-address", "192.0.2.1"), "--node-address 192.0.2.1 is no address of this host"),
        (("--node-address", "224.0.0.1"), "it must be one of this host"),
        (("--audit-retention-days", "inf"), "36500"),
        (("--task-retention-days", "1e300"), "36500"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, *words)).refusal()
    assert code in {1, 2}
    assert reason in said
    assert "Traceback" not in said
