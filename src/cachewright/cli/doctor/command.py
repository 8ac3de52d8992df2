"""The command `cachewright doctor`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cachewright.backups.storage import parse_storage_url
from cachewright.cli.doctor import agents, host, machines, network, resources, storage
from cachewright.cli.doctor.finding import Finding
from cachewright.cli.remote.output import AsJson, console, print_json
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
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.config import Listen, Settings, parse_ports
from cachewright.hosts.addresses import parse_node_address

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    host.check_python,
    host.check_valkey,
    host.check_haproxy,
    host.check_client_firewall,
    host.check_kernel,
    host.check_limits,
    resources.check_memory,
    resources.check_allocated,
    machines.check_servers,
    machines.check_hosts,
    machines.check_reach,
    agents.check_agents,
    resources.check_disk,
    storage.check_backups,
    storage.check_folder,
    network.check_exposure,
    storage.check_database,
    network.check_server,
    network.check_node_address,
    network.check_ports,
    host.check_other_users,
)


def doctor(
    *,
    data_dir: Annotated[Path, Parameter(help="Data directory to check.", env_var="CACHEWRIGHT_DATA_DIR")] = Path(
        "data"
    ),
    listen: Annotated[str, Parameter(help="HOST:PORT of the server.")] = "127.0.0.1:8765",
    secret_key_file: Annotated[
        Path | None,
        Parameter(help="Key file of the server, if not in the data directory.", env_var="CACHEWRIGHT_SECRET_KEY_FILE"),
    ] = None,
    valkey_binary: ValkeyBinary = None,
    other_valkey_binary: OtherValkeyBinaries = (),
    database_url: DatabaseUrl = None,
    node_address: NodeAddress = NODE_ADDRESS,
    bus_ports: BusPorts = BUS_PORTS,
    jemalloc: Jemalloc = "auto",
    haproxy: Haproxy = "auto",
    nftables: Nftables = False,
    backup_storage: BackupStorage = None,
    json: AsJson = False,
) -> None:
    """Check this host, a data directory and its server, and suggest fixes. Exits with 1 if a check failed.

    Example: cachewright doctor --data-dir ./data
    """
    try:
        address, peers = Listen.parse(listen), parse_ports(bus_ports)
        nodes = parse_node_address(node_address)
        url, proxy = read_database_url(database_url), haproxy_binary(haproxy)
        storage_url = backup_storage and parse_storage_url(backup_storage)
    except ValueError as error:
        raise UsageError(str(error)) from error
    settings = Settings(
        data_dir=data_dir.absolute(),
        listen=address,
        database_url=url,
        secret_key_file=secret_key_file and secret_key_file.absolute(),
        node_host=nodes,
        bus_ports=peers,
        jemalloc=absolute_library(jemalloc),
        other_valkey_binaries=tuple(map(absolute_binary, other_valkey_binary)),
        haproxy_binary=proxy,
        nft_binary=nft_binary(nftables=nftables),
        backup_storage=storage_url,
    )
    if valkey_binary:
        settings = msgspec.structs.replace(settings, valkey_binary=absolute_binary(valkey_binary))
    findings = [finding for check in _CHECKS for finding in check(settings)]
    if json:
        print_json(msgspec.to_builtins(findings))
    else:
        for finding in findings:
            console().print(f"[{_STYLES[finding.state]}]{finding.state:<5}[/]", end="")
            console().print(f"{finding.name:<14} {finding.message}", markup=False)
            if finding.remedy:
                console().print(f"{'':<20}{finding.remedy}", markup=False, style="dim")
    failed = sum(finding.state == "fail" for finding in findings)
    if failed:
        raise CommandFailed(f"{failed} of {len(findings)} checks failed")
