"""`cachewright doctor`: checks what a server and its caches need. It changes nothing."""

import asyncio
import fcntl
import os
import resource
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from cachewright.backups.storage import Storage, StorageFailed, parse_storage_url
from cachewright.cli import exposure
from cachewright.cli.remote.output import AsJson, console, print_json
from cachewright.cli.settings import (
    BUS_PORTS,
    NODE_ADDRESS,
    BackupStorage,
    BusPorts,
    DatabaseUrl,
    Haproxy,
    Jemalloc,
    NodeAddress,
    OtherValkeyBinaries,
    ValkeyBinary,
    absolute_binary,
    absolute_library,
    haproxy_binary,
    read_database_url,
)
from cachewright.client.account import read
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.client.http import ApiClient
from cachewright.config import Listen, Settings, parse_ports, show_ports
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.addresses import is_local, is_loopback, parse_node_address
from cachewright.hosts.host_users import exposures
from cachewright.hosts.node_environment import describe
from cachewright.hosts.ports import NoFreePort, free_ports
from cachewright.hosts.resources import resources, total_memory
from cachewright.hosts.server_binary import UnusableServer, has_tls, require_version
from cachewright.operations import admission
from cachewright.services.instance_queries import count_by_tls
from cachewright.store import hosts
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import open_in_use

State = Literal["ok", "warn", "fail"]

_OPEN_FILES = 4096
_GIGABYTE = 2**30
_PORTS_OF_A_LARGE_CLUSTER = 64
_DATABASE_REMEDY = "Make it reachable, or restore it from a backup with its key file."
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


class Finding(msgspec.Struct, frozen=True):
    """:ivar remedy: suggested fix; empty if the check passed."""

    name: str
    state: State
    message: str
    remedy: str = ""


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
        storage = backup_storage and parse_storage_url(backup_storage)
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
        backup_storage=storage,
    )
    if valkey_binary:
        settings = msgspec.structs.replace(settings, valkey_binary=absolute_binary(valkey_binary))
    findings = [finding for look in _LOOKS for finding in look(settings)]
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


def _python(_: Settings) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _valkey(settings: Settings) -> Iterator[Finding]:
    try:
        version = require_version(settings.valkey_binary)
    except UnusableServer as unusable:
        yield Finding("valkey-server", "fail", str(unusable), "Reinstall the package, or use --valkey-binary.")
    else:
        allocator = describe(settings.valkey_binary, settings.jemalloc)
        tls = "TLS" if has_tls(settings.valkey_binary) else "no TLS, so clusters have none"
        message = f"{version} at {settings.valkey_binary}; {tls}; allocator: {allocator}"
        yield Finding("valkey-server", "ok", message)
    for binary in settings.other_valkey_binaries:
        try:
            yield Finding("valkey-server", "ok", f"also {require_version(binary)} at {binary}")
        except UnusableServer as unusable:
            yield Finding("valkey-server", "fail", str(unusable), "Correct or remove --other-valkey-binary.")


def _haproxy(settings: Settings) -> Iterator[Finding]:
    if settings.haproxy_binary:
        yield Finding("haproxy", "ok", f"{settings.haproxy_binary}: addresses of ha instances, TLS, whitelists")
    else:
        remedy = "Install it (Debian: haproxy), or use clients that ask for the address again."
        missing = "not found: the address of an ha instance changes at a failover; no TLS of clients, no whitelists"
        yield Finding("haproxy", "warn", missing, remedy)


def _kernel(_: Settings) -> Iterator[Finding]:
    overcommit = _first_line("/proc/sys/vm/overcommit_memory")
    if overcommit == "1":
        yield Finding("overcommit", "ok", "vm.overcommit_memory is 1")
    elif overcommit:
        remedy = "sysctl vm.overcommit_memory=1, or a snapshot may fail while memory is short."
        yield Finding("overcommit", "warn", f"vm.overcommit_memory is {overcommit}", remedy)
    pages = _first_line("/sys/kernel/mm/transparent_hugepage/enabled")
    if "[always]" in pages:
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: snapshots copy less, answers come sooner."
        yield Finding("huge pages", "warn", "transparent huge pages are always on", remedy)
    elif pages:
        yield Finding("huge pages", "ok", f"transparent huge pages: {pages}")


def _limits(_: Settings) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state: State = "ok" if soft >= _OPEN_FILES else "warn"
    remedy = "" if state == "ok" else f"ulimit -n {_OPEN_FILES} or more, or caches accept fewer clients."
    yield Finding("open files", state, f"{soft} (hard limit {hard})", remedy)


def _memory(settings: Settings) -> Iterator[Finding]:
    free = resources(_existing(settings.data_dir)).memory_free
    message = f"{free / _GIGABYTE:.1f} GB free"
    if free < _GIGABYTE:
        yield Finding("memory", "warn", message, "A shard takes at least 1 GB when it is full.")
    else:
        yield Finding("memory", "ok", message)


def _allocated(settings: Settings) -> Iterator[Finding]:
    """Check allocated memory. Without a readable database there is no finding; `_database` reports that."""
    try:
        with closing(open_in_use(settings)) as database, database.read() as connection:
            _, host = admission.allocated(connection, "")
    except (DatabaseNotReady, DatabaseUnavailable, WrongKey, OSError):
        return
    needed, there = host.size.host_memory / _GIGABYTE, total_memory() / _GIGABYTE
    message = f"{needed:.1f} GB are allocated to {host.size.nodes} nodes, the host has {there:.1f} GB"
    if needed > there:
        yield Finding("allocated", "warn", message, "Delete or shrink instances, or the kernel may kill a full node.")
    else:
        yield Finding("allocated", "ok", message)


def _hosts(settings: Settings) -> Iterator[Finding]:
    """Check that a host takes new nodes. Without a readable database there is no finding; `_database` reports that."""
    try:
        with closing(open_in_use(settings)) as database, database.read() as connection:
            found = hosts.every(connection)
    except (DatabaseNotReady, DatabaseUnavailable, WrongKey, OSError):
        return
    active = [host.name for host in found if host.state == "active"]
    message = ", ".join(f"{host.name} ({host.state}, zone {host.zone})" for host in found)
    if active:
        yield Finding("hosts", "ok", message)
    else:
        yield Finding("hosts", "warn", f"{message}: no host accepts new nodes", "cachewright hosts uncordon NAME")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = _existing(settings.data_dir)
    free = resources(folder).disk_free
    message = f"{free / _GIGABYTE:.1f} GB free at {folder}"
    if free < _GIGABYTE:
        yield Finding("disk", "fail", message, "Free space: caches that cannot write their files reject writes.")
    else:
        yield Finding("disk", "ok", message)


def _backups(settings: Settings) -> Iterator[Finding]:
    """The storage of backups must take, return and delete an object. The folder in the data directory needs no check
    before its first use."""
    if settings.backup_storage is None and not (settings.data_dir / "backups").exists():
        return
    try:
        asyncio.run(Storage.open(settings.backup_url).probe())
    except StorageFailed as error:
        remedy = "Correct --backup-storage or its credentials in the environment."
        yield Finding("backups", "fail", str(error), remedy)
    else:
        yield Finding("backups", "ok", settings.backup_url)


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        yield Finding("data directory", "ok", f"{folder} does not exist yet; the first start creates it")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("data directory", "fail", f"{folder} cannot be written", f"chown it to {os.geteuid()}.")
    elif mode & (stat.S_IRWXG | stat.S_IRWXO):
        remedy = f"chmod 700 {folder}: it holds secrets."
        yield Finding("data directory", "warn", f"other users can read {folder} (mode {mode:o})", remedy)
    else:
        yield Finding("data directory", "ok", f"{folder}, only for its owner")


def _exposure(settings: Settings) -> Iterator[Finding]:
    """Check what other users of the host and the network can reach."""
    endpoint = f"http://{settings.listen.address}"
    if _is_held(settings.data_dir / "server.lock"):
        with suppress(CommandFailed):
            endpoint = read(settings.credentials_file).endpoint
    for found in (*exposure.of_user(), *exposure.of_network(endpoint), *exposure.of_files(settings)):
        yield Finding(found.subject, "warn", found.message, found.remedy)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None and not settings.database_file.exists():
        return
    try:
        with closing(open_in_use(settings)) as database:
            verdict = database.check()
    except (DatabaseNotReady, WrongKey) as error:
        yield Finding("database", "fail", str(error), "Start a server of this release with its key file.")
    except (OSError, DatabaseUnavailable) as error:
        yield Finding("database", "fail", f"cannot be read: {error}", _DATABASE_REMEDY)
    else:
        yield Finding("database", "ok", verdict)


def _server(settings: Settings) -> Iterator[Finding]:
    """A running server must respond; otherwise its port must be free."""
    if not _is_held(settings.data_dir / "server.lock"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.listen.host, settings.listen.port))
            except OSError as error:
                message = f"{settings.listen.host}:{settings.listen.port}: {error.strerror}"
                yield Finding("port", "fail", message, "Use another port: --listen.")
                return
        yield Finding("server", "ok", f"not running; {settings.listen.host}:{settings.listen.port} is free")
        return
    try:
        count = ApiClient(read(settings.credentials_file)).ask("GET", "instances", limit=1)["instance_num"]
    except CommandFailed as failed:
        yield Finding("server", "fail", f"runs, but: {failed}", "Read its log.")
    else:
        yield Finding("server", "ok", f"runs and responds; {count} instances")


def _node_address(settings: Settings) -> Iterator[Finding]:
    """Check the address of new caches: it belongs to this host, and the ports between nodes are protected."""
    address = settings.node_host
    if not is_local(address):
        yield Finding("node address", "fail", f"{address} is no address of this host", "Correct --node-address.")
        return
    if is_loopback(address):
        yield Finding("node address", "ok", f"{address}: only this host reaches caches")
    for found in exposure.of_nodes(settings):
        yield Finding(found.subject, "warn", found.message, found.remedy)


def _ports(settings: Settings) -> Iterator[Finding]:
    for name, ports in (("cache ports", settings.node_ports), ("bus ports", settings.bus_ports)):
        found = 0
        with suppress(NoFreePort):
            for _ in islice(free_ports(settings.node_host, ports, set()), _PORTS_OF_A_LARGE_CLUSTER):
                found += 1
        state: State = "ok" if found >= _PORTS_OF_A_LARGE_CLUSTER else "warn"
        message = f"{'enough' if state == 'ok' else found} of {show_ports(ports)} are free for nodes"
        remedy = "Each node takes one cache port and one bus port, or two with TLS between nodes."
        yield Finding(name, state, message, "" if state == "ok" else remedy)


def _other_users(settings: Settings) -> Iterator[Finding]:
    """Check risks by other users of the host. Without a readable database, only the server binary is checked."""
    with_tls = without_tls = 0
    with (
        suppress(DatabaseNotReady, DatabaseUnavailable, WrongKey, OSError),
        closing(open_in_use(settings)) as database,
        database.read() as connection,
    ):
        with_tls, without_tls = count_by_tls(connection)
    tls = has_tls(settings.valkey_binary)
    found = exposures(tls=tls, instances_with_tls=with_tls, instances_without_tls=without_tls)
    for risk in found:
        yield Finding("other users", "fail" if risk.blocking else "warn", risk.risk, risk.remedy)
    if not found:
        yield Finding(
            "other users", "ok", "cannot join the cluster bus: nodes accept only nodes of their own instance, by TLS"
        )


_LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python,
    _valkey,
    _haproxy,
    _kernel,
    _limits,
    _memory,
    _allocated,
    _hosts,
    _disk,
    _backups,
    _folder,
    _exposure,
    _database,
    _server,
    _node_address,
    _ports,
    _other_users,
)


def _existing(folder: Path) -> Path:
    """The directory, or its first existing parent."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _is_held(lock: Path) -> bool:
    """Whether a server holds this lock. Does not create the file."""
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
