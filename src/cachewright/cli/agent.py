"""`cachewright agent`: run nodes of a server on this host."""

import asyncio
import stat
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from cachewright import logs
from cachewright.agent import Agent
from cachewright.cli import environment, exposure, garbage
from cachewright.cli.environment import StartupError
from cachewright.cli.settings import (
    BUS_PORTS,
    BusPorts,
    DatabaseUrl,
    Jemalloc,
    OtherValkeyBinaries,
    ValkeyBinary,
    absolute_binary,
    absolute_library,
    read_database_url,
)
from cachewright.config import Settings, parse_ports
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.addresses import parse_node_address
from cachewright.logs import Format
from cachewright.store.database import DatabaseNotReady
from cachewright.store.driver_errors import tables_required
from cachewright.store.opening import database_place

_OTHER_TABLES = "upgrade the servers first, or give the role its rights: cachewright hosts grant"


def agent(
    *,
    host: Annotated[str, Parameter(help="Name of this host, as in `cachewright hosts add`.")],
    address: Annotated[str, Parameter(help="Address of this host that its nodes listen on.")],
    data_dir: Annotated[
        Path, Parameter(help="Directory of the nodes and of the agent's key.", env_var="CACHEWRIGHT_DATA_DIR")
    ],
    database_url: DatabaseUrl = None,
    valkey_binary: ValkeyBinary = None,
    other_valkey_binary: OtherValkeyBinaries = (),
    bus_ports: BusPorts = BUS_PORTS,
    jemalloc: Jemalloc = "auto",
    log_format: Annotated[Format, Parameter(help="Format of the log on standard error.")] = "text",
) -> None:
    """Run nodes on this host for a server on the same PostgreSQL database, until SIGTERM or Ctrl-C.

    Nodes keep running when the agent stops; the next start finds them again.

    Example: cachewright agent --host host2 --address 10.0.0.2 --data-dir ./agent --database-url postgresql://agent@db/caches
    """
    try:
        settings = Settings(
            data_dir=data_dir.absolute(),
            database_url=read_database_url(database_url),
            node_host=parse_node_address(address),
            bus_ports=parse_ports(bus_ports),
            jemalloc=absolute_library(jemalloc),
            other_valkey_binaries=tuple(map(absolute_binary, other_valkey_binary)),
            log_format=log_format,
        )
        if valkey_binary:
            settings = msgspec.structs.replace(settings, valkey_binary=absolute_binary(valkey_binary))
        if settings.database_url is None or not settings.database_url.startswith("postgresql"):
            raise ValueError("an agent needs --database-url of the server's PostgreSQL database")
        _run(host, settings)
    except (ValueError, StartupError, DatabaseNotReady) as error:
        sys.exit(f"cachewright: {error}")


def _run(host: str, settings: Settings) -> None:
    logs.configure(settings.log_format)
    environment.require(settings)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        exposure.restrict(settings.data_dir)
        with environment.only_server_of(settings.data_dir), tables_required(_OTHER_TABLES):
            asyncio.run(_perform(host, settings))
    except OSError as error:
        raise StartupError(f"cannot use {error.filename or settings.data_dir}: {error.strerror}") from error
    except DatabaseUnavailable as error:
        raise StartupError(f"cannot use {database_place(settings)}: {error}") from error


async def _perform(host: str, settings: Settings) -> None:
    running = Agent(host, settings)
    await running.join()
    garbage.collect_as_usual()
    print(f"Cachewright runs nodes of host {host} at {settings.node_host}", flush=True)
    await running.run()
