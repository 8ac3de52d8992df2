"""`cachewright serve` and `cachewright demo`."""

import sys
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from cachewright.backups.storage import parse_storage_url
from cachewright.cli import garbage
from cachewright.cli.environment import StartupError
from cachewright.cli.serve import serve_until_stopped
from cachewright.cli.settings import (
    BUS_PORTS,
    NODE_ADDRESS,
    BackupStorage,
    BusPorts,
    DatabaseUrl,
    Haproxy,
    Jemalloc,
    Nftables,
    NodeAddress,
    OtherValkeyBinaries,
    ValkeyBinary,
    absolute_binary,
    absolute_library,
    haproxy_binary,
    nft_binary,
    read_database_url,
)
from cachewright.config import Listen, RequestLimits, Settings, parse_ports, parse_public_url
from cachewright.hosts.addresses import parse_node_address
from cachewright.logs import Format

_DAYS = validators.Number(gte=0, lte=36_500)
_GRACE = validators.Number(gte=0, lte=3600)
_AT_LEAST_1 = validators.Number(gte=1)

_LIMITS = RequestLimits()
_MOST_OVERCOMMIT = 1000


def serve(
    *,
    data_dir: Annotated[
        Path,
        Parameter(help="Directory of the database, the credentials and the nodes.", env_var="CACHEWRIGHT_DATA_DIR"),
    ],
    listen: Annotated[str, Parameter(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8765",
    tls_cert: Annotated[Path | None, Parameter(help="Serve HTTPS with this certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, Parameter(help="The certificate's private key (PEM).")] = None,
    valkey_binary: ValkeyBinary = None,
    other_valkey_binary: OtherValkeyBinaries = (),
    database_url: DatabaseUrl = None,
    secret_key_file: Annotated[
        Path | None,
        Parameter(
            help="Key that encrypts secrets in the database; by default a file in the data directory.",
            env_var="CACHEWRIGHT_SECRET_KEY_FILE",
        ),
    ] = None,
    client_grace_seconds: Annotated[
        float,
        Parameter(
            help="Time that a node waits for subscribers and blocked clients before it leaves or restarts.",
            validator=_GRACE,
        ),
    ] = 10,
    host_rebuild_seconds: Annotated[
        float,
        Parameter(
            help="Time without a report of a host's agent after which its nodes that have failed are replaced on other "
            "hosts.",
            validator=validators.Number(gte=0),
        ),
    ] = 300,
    task_retention_days: Annotated[float, Parameter(help="Days to keep finished tasks.", validator=_DAYS)] = 365,
    audit_retention_days: Annotated[
        float, Parameter(help="Days to keep entries of the audit log.", validator=_DAYS)
    ] = 365,
    node_address: NodeAddress = NODE_ADDRESS,
    bus_ports: BusPorts = BUS_PORTS,
    rate_limit: Annotated[str, Parameter(help="Limit of requests per user.")] = "200/second",
    change_rate_limit: Annotated[str, Parameter(help="Limit of changes per user.")] = "100/second",
    tokens_per_user: Annotated[
        int,
        Parameter(
            help="Maximum number of tokens, and of console sessions, per user; a new one revokes the oldest.",
            validator=_AT_LEAST_1,
        ),
    ] = 20,
    trusted_proxy: Annotated[
        tuple[str, ...],
        Parameter(
            help="ADDRESS or ADDRESS/NET of a proxy whose X-Forwarded-For or Forwarded is trusted; repeatable.",
            negative="",
        ),
    ] = (),
    webhooks_to_private: Annotated[bool, Parameter(help="Allow webhooks on loopback and private addresses.")] = True,
    migration_network: Annotated[
        tuple[str, ...],
        Parameter(
            help="Network in which sources of migrations must be, such as 10.0.0.0/8; repeatable. Without it, all "
            "addresses except those of the hosts of the installation.",
            negative="",
        ),
    ] = (),
    public_url: Annotated[
        str | None, Parameter(help="URL of the server for clients, used in links; needed behind a proxy.")
    ] = None,
    memory_overcommit: Annotated[
        float,
        Parameter(
            help="Memory that nodes may be allocated, as a multiple of the host's memory; above 1, memory may run out."
        ),
    ] = 1.0,
    quota_instances: Annotated[
        int,
        Parameter(help="Maximum number of instances per project; 0 for no limit.", validator=validators.Number(gte=0)),
    ] = 100,
    quota_nodes: Annotated[
        int, Parameter(help="Maximum number of nodes per project; 0 for no limit.", validator=validators.Number(gte=0))
    ] = 1000,
    quota_memory_gb: Annotated[
        int,
        Parameter(help="Maximum memory of nodes per project, GB; 0 for no limit.", validator=validators.Number(gte=0)),
    ] = 0,
    quota_backup_gb: Annotated[
        int,
        Parameter(
            help="Maximum size of backups and write logs per project, GB; 0 for no limit.",
            validator=validators.Number(gte=0),
        ),
    ] = 0,
    jemalloc: Jemalloc = "auto",
    haproxy: Haproxy = "auto",
    nftables: Nftables = False,
    backup_storage: BackupStorage = None,
    giant_key_mb: Annotated[
        int,
        Parameter(
            help="Size in MB from which the plan of a resize warns about a large value.",
            validator=validators.Number(gte=1),
        ),
    ] = 10,
    queue_polling: Annotated[
        bool,
        Parameter(help="Let DBOS poll its queues; tasks then start up to a few seconds later.", negative=""),
    ] = False,
    log_format: Annotated[Format, Parameter(help="Format of the log on standard error.")] = "text",
    connections_per_address: Annotated[
        int,
        Parameter(
            help="Maximum number of connections per address; raise it behind a proxy.",
            validator=validators.Number(gte=1),
        ),
    ] = _LIMITS.connections_per_address,
    first_request_seconds: Annotated[
        float,
        Parameter(help="Time limit for the first request of a connection.", validator=validators.Number(gt=0)),
    ] = _LIMITS.first_request_seconds,
    idle_seconds: Annotated[
        float,
        Parameter(help="Time limit of idle connections.", validator=validators.Number(gt=0)),
    ] = _LIMITS.idle_seconds,
    body_memory_mb: Annotated[
        int,
        Parameter(help="Maximum memory for request bodies, MB.", validator=validators.Number(gte=48)),
    ] = _LIMITS.body_memory_mb,
    streams_per_user: Annotated[
        int, Parameter(help="Maximum number of event streams per user.", validator=validators.Number(gte=1))
    ] = _LIMITS.streams_per_user,
    streams: Annotated[
        int, Parameter(help="Maximum number of event streams.", validator=validators.Number(gte=1))
    ] = _LIMITS.streams,
) -> None:
    """Serve the DCS v2 API and run caches on this machine until SIGTERM or Ctrl-C.

    Caches keep running when the server stops; the next start manages them again.

    Example: cachewright serve --data-dir ./data --listen 127.0.0.1:8765
    """
    try:
        if not 0 < memory_overcommit <= _MOST_OVERCOMMIT:
            raise ValueError(f"--memory-overcommit {memory_overcommit:g} is not above 0 and up to {_MOST_OVERCOMMIT}")
        settings = Settings(
            data_dir=data_dir.absolute(),
            listen=Listen.parse(listen),
            tls_cert=tls_cert,
            tls_key=tls_key,
            database_url=read_database_url(database_url),
            secret_key_file=secret_key_file and secret_key_file.absolute(),
            client_grace_seconds=client_grace_seconds,
            host_rebuild_seconds=host_rebuild_seconds,
            task_retention_days=task_retention_days,
            audit_retention_days=audit_retention_days,
            rate_limit=rate_limit,
            node_host=parse_node_address(node_address),
            bus_ports=parse_ports(bus_ports),
            change_rate_limit=change_rate_limit,
            tokens_per_user=tokens_per_user,
            trusted_proxies=tuple(map(_proxy, trusted_proxy)),
            webhooks_to_private=webhooks_to_private,
            migration_networks=tuple(str(ip_network(network)) for network in migration_network),
            public_url=public_url and parse_public_url(public_url),
            memory_overcommit=memory_overcommit,
            quota_instances=quota_instances,
            quota_nodes=quota_nodes,
            quota_memory_gb=quota_memory_gb,
            quota_backup_gb=quota_backup_gb,
            jemalloc=absolute_library(jemalloc),
            other_valkey_binaries=tuple(map(absolute_binary, other_valkey_binary)),
            haproxy_binary=haproxy_binary(haproxy),
            nft_binary=nft_binary(nftables=nftables),
            backup_storage=backup_storage and parse_storage_url(backup_storage),
            giant_key_mb=giant_key_mb,
            queue_polling=queue_polling,
            log_format=log_format,
            limits=RequestLimits(
                connections_per_address=connections_per_address,
                first_request_seconds=first_request_seconds,
                idle_seconds=idle_seconds,
                body_memory_mb=body_memory_mb,
                streams_per_user=streams_per_user,
                streams=streams,
            ),
        )
        if valkey_binary:
            settings = msgspec.structs.replace(settings, valkey_binary=absolute_binary(valkey_binary))
        serve_until_stopped(settings)
    except (ValueError, StartupError) as error:
        sys.exit(f"cachewright: {error}")


def _proxy(text: str) -> str:
    """Parse a proxy. ValueError if it is malformed or includes all addresses."""
    network = ip_network(text)
    if network.prefixlen == 0:
        raise ValueError(f"--trusted-proxy {text} would trust all addresses")
    return str(network)


def demo(
    *,
    keys: Annotated[int, Parameter(help="Keys to load.")] = 300_000,
    from_: Annotated[int, Parameter(name="--from", help="Shards at the start and at the end.")] = 3,
    to: Annotated[int, Parameter(help="Shards in between.")] = 5,
    json: Annotated[bool, Parameter(negative="", help="Print the measurements as JSON.")] = False,
    data_dir: Annotated[Path | None, Parameter(help="Directory to use; must be empty or not exist.")] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Create a cluster, load it, scale it out and in under traffic, and print what was measured.

    Exits with 0 only if all tasks succeeded, no data was lost and no process is left.

    Example: cachewright demo --keys 300000 --from 3 --to 5
    """
    try:
        from cachewright.cli.demo import DemoOptions, run  # noqa: PLC0415  # needs the SDK, an optional dependency
    except ImportError as missing:
        sys.exit(f"cachewright: the demo needs the cloud's SDK: pip install 'cachewright[demo]' ({missing})")
    try:
        url = read_database_url(database_url)
    except ValueError as error:
        sys.exit(f"cachewright: {error}")
    with tempfile.TemporaryDirectory(prefix="cachewright-demo-") as fresh:
        folder = data_dir or Path(fresh) / "data"
        options = DemoOptions(keys=keys, start=from_, to=to, json=json, data_dir=folder, database_url=url)
        garbage.collect_as_usual()
        sys.exit(run(options))
