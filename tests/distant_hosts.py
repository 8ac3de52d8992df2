"""PostgreSQL and a server on one machine, agents on others, in network namespaces."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents import Hosts
from machines import LOCAL, NETWORK, Machines
from postgres_server import PostgresServer


@contextmanager
def distant_hosts(folder: Path, count: int, *options: str) -> Iterator[tuple[Machines, Hosts]]:
    """Start this number of hosts with agents, and put this thread on the machine of the server.

    :param options: of the server.
    """
    names = [f"h{number}" for number in range(2, 2 + count)]
    machines = Machines(*names)
    try:
        with machines[LOCAL].entered():
            postgres = PostgresServer(machines[LOCAL].address, NETWORK)
            try:
                postgres.start()
                url = postgres.new_database()
                hosts = Hosts(url, folder, (LOCAL,) * count, *options, machines=machines)
                try:
                    yield machines, hosts
                finally:
                    hosts.clean_up()
            finally:
                postgres.clean_up()
    finally:
        machines.clean_up()
