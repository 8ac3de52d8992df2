"""Clients of an instance: its cluster, one of its nodes as the control plane."""

import functools
import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
from huaweicloudsdkdcs.v2 import DownloadSslCertRequest
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ValkeyClusterException, ValkeyError

from sdk_calls import PASSWORD, show
from serving import Server, until

FAULTS = (ValkeyError, ValkeyClusterException, OSError)
"""What a client raises while nodes start, end, or move."""

_FAILOVER_SECONDS = 11
"""Longer than a node waits for the end of a failover that it was asked for."""


def cache(client: Any, instance_id: str) -> ValkeyCluster:
    """A cluster-aware client of the instance."""
    shown = show(client, instance_id)
    return ValkeyCluster(host=shown.ip, port=shown.port, password=PASSWORD)


def cache_by_tls(client: Any, instance_id: str, authority: Path) -> ValkeyCluster:
    """The same with TLS, which trusts the certificate in this file alone."""
    shown = show(client, instance_id)
    trusting: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(authority)}
    return ValkeyCluster(host=shown.ip, port=shown.port, password=PASSWORD, **trusting)


def authority_of(client: Any, instance_id: str, folder: Path) -> Path:
    """A file with the certificate by which clients verify the instance, to which DownloadSslCert leads."""
    told = client.download_ssl_cert(DownloadSslCertRequest(instance_id=instance_id))
    assert told.file_name == "ca.zip"
    with zipfile.ZipFile(io.BytesIO(httpx.get(told.link).content)) as archive:
        return Path(archive.extract("ca.crt", folder))


def links(caches: ValkeyCluster) -> set[str]:
    """State of the connection of each replica to its primary."""
    replicas = [node for node in caches.get_nodes() if node.server_type == "replica"]
    return {caches.info("replication", target_nodes=node)["master_link_status"] for node in replicas}


def load(caches: ValkeyCluster, keys: int, size: int = 200) -> None:
    """Write keys `key:0`, `key:1`, ... with values of this number of bytes."""
    for start in range(0, keys, 2000):
        pipeline = caches.pipeline()
        for number in range(start, min(start + 2000, keys)):
            pipeline.set(f"key:{number}", "x" * size)
        pipeline.execute()


def present(caches: ValkeyCluster, keys: int) -> int:
    """Number of these keys that exist."""
    parts = (range(start, min(start + 2000, keys)) for start in range(0, keys, 2000))
    return sum(caches.exists(*(f"key:{number}" for number in part)) for part in parts)


def operator_of(server: Server, host: str, port: int, **options: Any) -> Valkey:
    """A connection to one node as the control plane's user, with administrative rights, also while the node does not
    accept clients. LookupError if no node has the port."""
    for conf in (server.data_dir / "nodes").glob("*/valkey.conf"):
        lines = dict(line.split(" ", 1) for line in conf.read_text().splitlines() if " " in line)
        if int(lines["port"]) == port:
            secret = lines["primaryauth"].strip('"')
            place: dict[str, Any] = {"host": host, "port": port}
            if (conf.parent / "valkey.sock").exists():
                place = {"unix_socket_path": f"/proc/self/fd/{_opened(conf.parent)}/valkey.sock"}
            return Valkey(**place, username="cachewright", password=secret, **options)
    raise LookupError(f"no node has port {port}")


@functools.cache
def _opened(folder: Path) -> int:
    """A descriptor of a folder, through which the path of a socket is short enough."""
    return os.open(folder, os.O_PATH | os.O_DIRECTORY)


def states(caches: ValkeyCluster) -> set[str]:
    """cluster_state as each node reports it."""
    return {caches.cluster_info(target_nodes=node)["cluster_state"] for node in caches.get_nodes()}


def serves(client: Any, instance_id: str) -> bool:
    """Whether a new client of the cache reaches every node, and each one says that the cluster is whole.

    A client that has met only closed ports may never find the nodes again, so each call makes its own.
    """
    try:
        return states(cache(client, instance_id)) == {"ok"}
    except FAULTS:
        return False


def take_over(replica: Valkey) -> None:
    """Make the replica the primary of its shard. A failover that a slow machine did not finish in time is repeated."""

    def is_primary() -> bool:
        if replica.execute_command("ROLE")[0] in {"master", b"master"}:
            return True
        if time.monotonic() > again[0]:
            again[0] = time.monotonic() + _FAILOVER_SECONDS
            replica.execute_command("CLUSTER FAILOVER")
        return False

    again = [0.0]
    until(is_primary, "the replica does not take over")
