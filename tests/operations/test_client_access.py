"""TLS of clients and whitelists, by real proxies, at an address that other machines reach if this one has any."""

import asyncio
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import (
    DeleteSingleInstanceRequest,
    ModifyIpWhitelistBody,
    ShowInstanceSslDetailRequest,
    ShowIpWhitelistRequest,
    ShowNodesInformationRequest,
    UpdateIpWhitelistRequest,
    UpdateSslSwitchRequest,
    UpdateSSLSwitchRequestBody,
    Whitelist,
)
from valkey import Valkey

from caches import FAULTS, authority_of
from cachewright.hosts.addresses import own_addresses
from cachewright.hosts.programs import find_haproxy
from cachewright.valkey.certificates import authority_certificate, new_authority
from sdk_calls import PASSWORD, created, ended, gone, newest_task, progress, show
from serving import ROOMY, Server, freeze, thaw, until

pytestmark = pytest.mark.skipif(
    find_haproxy() is None, reason="HAPROXY IS NOT TESTED: it is not installed (apt-get install haproxy)"
)
ALLOWED, OTHER = "127.0.0.2", "127.0.0.3"


def exposed_address() -> str:
    """An IPv4 address of this machine that others reach; 127.0.0.1 if it has none."""
    return next((str(own) for own in own_addresses() if own.version == 4 and not own.is_loopback), "127.0.0.1")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("exposed") / "data", arguments=(*ROOMY, "--node-address", exposed_address())
    )
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def reply(client: Any, instance_id: str, source: str = ALLOWED, authority: Path | None = None) -> str:
    """What a client from the address `source` gets for PING, with TLS if it has the certificate of an authority."""
    shown = show(client, instance_id)
    trusting = ssl.create_default_context(cafile=str(authority)) if authority else None
    try:
        return asyncio.run(_reply(shown.ip, shown.port, source, trusting)) or "refused"
    except ssl.SSLCertVerificationError:
        return "not trusted"
    except OSError:
        return "refused"


async def _reply(host: str, port: int, source: str, trusting: ssl.SSLContext | None) -> str:
    reader, writer = await asyncio.open_connection(host, port, ssl=trusting, local_addr=(source, 0))
    try:
        writer.write(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
        return (await reader.readline() + await reader.readline()).decode().replace("\r\n", "")
    finally:
        writer.transport.abort()


def secured(client: Any, instance_id: str, authority: Path) -> Valkey:
    shown = show(client, instance_id)
    options = {"password": PASSWORD, "decode_responses": True, "ssl": True, "ssl_ca_certs": str(authority)}
    return Valkey(host=shown.ip, port=shown.port, **options)


def switch_tls(client: Any, instance_id: str, *, enabled: bool) -> str:
    """Id of the task."""
    body = UpdateSSLSwitchRequestBody(enabled=enabled)
    return str(client.update_ssl_switch(UpdateSslSwitchRequest(instance_id=instance_id, body=body)).job_id)


def allow(client: Any, instance_id: str, *addresses: str) -> None:
    body = ModifyIpWhitelistBody(enable_whitelist=bool(addresses), whitelist=[Whitelist("group", list(addresses))])
    client.update_ip_whitelist(UpdateIpWhitelistRequest(instance_id=instance_id, body=body))
    task = newest_task(client, instance_id)
    assert task.name == "AddWhitelist"
    assert ended(client, instance_id, task.id).status == "SUCCESS"


def proxy(server: Server, name: str) -> psutil.Process:
    """The process whose command line contains `name`: the id of an instance or of a node."""
    return next(process for process in server.nodes() if any(name in word for word in process.info["cmdline"]))


def runs_another(server: Server, instance_id: str, pid: int) -> bool:
    """Whether the instance has a proxy that is not the process `pid`."""
    return any(
        process.pid != pid and any(instance_id in word for word in process.info["cmdline"])
        for process in server.nodes()
    )


def primary(client: Any, instance_id: str) -> str:
    """Id of the primary; empty while there is none."""
    nodes = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes
    return next((node.node_id for node in nodes if node.node_type == "master"), "")


def test_an_ha_instance_with_tls_and_a_whitelist(exposed: Server, tmp_path: Path) -> None:
    client = exposed.client()
    instance_id = created(client, 1, spec_code="redis.ha.xu1.large.r2.1", capacity=1, enable_ssl=True)
    shown = show(client, instance_id)
    assert (shown.ip, shown.enable_ssl, shown.features.support_ssl) == (exposed_address(), True, True)
    detail = client.show_instance_ssl_detail(ShowInstanceSslDetailRequest(instance_id=instance_id))
    assert (detail.enabled, detail.ssl_validated, detail.port) == (True, True, str(shown.port))
    nodes = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes
    assert {node.node_ip for node in nodes} == {"127.0.0.1"}, "other machines reach the proxy alone"
    authority = authority_of(client, instance_id, tmp_path)
    assert secured(client, instance_id, authority).set("key", "value")
    assert reply(client, instance_id) == "refused"
    stranger = tmp_path / "stranger.crt"
    stranger.write_text(authority_certificate(new_authority("other")))
    assert reply(client, instance_id, authority=stranger) == "not trusted"
    files = [*exposed.data_dir.glob("proxies/*/tls.pem"), *exposed.data_dir.glob("proxies/*/haproxy.cfg")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert "PRIVATE KEY" in files[0].read_text()

    killed = proxy(exposed, instance_id)
    killed.kill()
    until(lambda: runs_another(exposed, instance_id, killed.pid), "the proxy is not started again")
    until(lambda: reply(client, instance_id, OTHER, authority) == "+OK+PONG", "the proxy does not serve")
    lead = primary(client, instance_id)
    frozen = proxy(exposed, lead)
    freeze(frozen)
    try:
        until(lambda: primary(client, instance_id) != lead, "no replica takes over")
        until(lambda: reply(client, instance_id, OTHER, authority) == "+OK+PONG", "the proxy leads nowhere")
    finally:
        thaw(frozen)
    told = exposed.call("GET", f"instances/{instance_id}/sentinels")[1]
    assert told["sentinels"] == [], "they would lead around TLS"

    allow(client, instance_id, ALLOWED, "10.0.0.0/8")
    told = client.show_ip_whitelist(ShowIpWhitelistRequest(instance_id=instance_id))
    assert (told.enable_whitelist, told.whitelist[0].ip_list) == (True, [ALLOWED, "10.0.0.0/8"])
    assert reply(client, instance_id, ALLOWED, authority) == "+OK+PONG"
    assert reply(client, instance_id, OTHER, authority) == "refused"

    task_id = switch_tls(client, instance_id, enabled=False)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert (reply(client, instance_id), reply(client, instance_id, OTHER)) == ("+OK+PONG", "refused")
    assert not show(client, instance_id).enable_ssl
    assert files[0].read_text() == "", "the key of a certificate that is not used any more"
    assert exposed.call("POST", f"instances/{instance_id}/ssl-certs/download")[1]["error_code"] == "DCS.4202"
    allow(client, instance_id)
    assert reply(client, instance_id, OTHER) == "+OK+PONG"
    assert "PRIVATE KEY" not in str(exposed.call("GET", f"tasks/{task_id}")) + exposed.log()


def test_a_single_instance_gets_a_proxy_for_tls(exposed: Server, tmp_path: Path) -> None:
    client = exposed.client()
    size = {"spec_code": "redis.single.xu1.tiny.128", "capacity": 0.125}
    other = created(client, 1, **size, enable_ssl=True)
    assert secured(client, other, authority_of(client, other, tmp_path)).ping(), "a proxy from the creation"
    instance_id = created(client, 1, **size)
    place = show(client, instance_id)
    with Valkey(host=place.ip, port=place.port, password=PASSWORD) as node:
        node.set("key", "of before")
    task_id = switch_tls(client, instance_id, enabled=True)
    until(lambda: str(place.port) not in show(client, instance_id).backend_addrs, "the node gets no other port")
    exposed.kill()
    for process in exposed.nodes():
        process.kill()
    exposed.start()
    client = exposed.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS", exposed.call("GET", f"tasks/{task_id}")
    steps = [step.step_name for step in progress(client, instance_id, task_id).step_details]
    assert steps == ["Pre-check.", "Address change."]
    shown = show(client, instance_id)
    assert (shown.ip, shown.port, shown.enable_ssl) == (place.ip, place.port, True)
    assert secured(client, instance_id, authority_of(client, instance_id, tmp_path)).get("key") == "of before"

    # every process of the machine dies
    exposed.kill()
    for process in exposed.nodes():
        process.kill()
    exposed.start()
    client = exposed.client()
    authority = authority_of(client, instance_id, tmp_path)

    def is_served() -> bool:
        try:
            return bool(secured(client, instance_id, authority).get("key") == "of before")
        except FAULTS:
            return False

    until(is_served, "the instance does not serve again")
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    until(lambda: not (exposed.data_dir / "proxies" / instance_id).exists(), "the proxy is not gone")
