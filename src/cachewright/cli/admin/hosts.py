"""`cachewright hosts`."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.services import hosts as service
from cachewright.store import hosts

app = App(name="hosts", help="Hosts, which run nodes: list, show, add, remove, cordon, uncordon, label.")

Name = Annotated[str, Parameter(help="Name of the host. The server's own machine is `local`.")]

_GIGABYTE = 2**30


@app.command(name="list")
def show_all(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List hosts with their zones, capacity and numbers of nodes."""
    print_rows(_rows(folder), ("name", "address", "zone", "state", "nodes", "cpus", "memory_gb"), json)


@app.command
def show(name: Name, *, folder: DataDirectory, json: AsJson = False) -> None:
    """Show a host."""
    with folder.read() as connection:
        service.require(connection, name)
    rows = [row for row in _rows(folder) if row["name"] == name]
    if not json:
        rows = [{"field": field, "value": value} for row in rows for field, value in row.items()]
    print_rows(rows, ("field", "value"), json)


@app.command
def add(
    name: Name,
    *,
    zone: Annotated[str, Parameter(help="Availability zone of the host.")] = "local",
    folder: DataDirectory,
) -> None:
    """Add a host, before its agent starts.

    Example: cachewright hosts add host2 --zone az2 --data-dir ./data
    """
    with folder.change("dcs:hosts:add", subject=f"{name} {zone}") as connection:
        service.add(connection, name, zone)


@app.command
def remove(name: Name, *, folder: DataDirectory) -> None:
    """Remove a host without nodes. Its agent stops."""
    with folder.change("dcs:hosts:remove", subject=name) as connection:
        service.remove(connection, name)


@app.command
def cordon(name: Name, *, folder: DataDirectory) -> None:
    """Place no new nodes on a host. Its nodes keep running.

    Example: cachewright hosts cordon local --data-dir ./data
    """
    with folder.change("dcs:hosts:cordon", subject=name) as connection:
        service.set_state(connection, name, "cordoned")


@app.command
def uncordon(name: Name, *, folder: DataDirectory) -> None:
    """Place new nodes on a host again."""
    with folder.change("dcs:hosts:uncordon", subject=name) as connection:
        service.set_state(connection, name, "active")


@app.command
def label(
    name: Name,
    *,
    zone: Annotated[str, Parameter(help="Availability zone of the host, which `az_codes` of requests name.")],
    folder: DataDirectory,
) -> None:
    """Set the availability zone of a host. Its nodes are not moved.

    Example: cachewright hosts label local --zone az1 --data-dir ./data
    """
    with folder.change("dcs:hosts:label", subject=f"{name} {zone}") as connection:
        service.set_zone(connection, name, zone)


def _rows(folder: DataDirectory) -> list[dict[str, object]]:
    with folder.read() as connection:
        counts = hosts.node_counts(connection)
        return [
            {
                "name": host.name,
                "address": host.address,
                "zone": host.zone,
                "state": host.state,
                "nodes": counts.get(host.name, 0),
                "cpus": host.report.cpus if host.report else "",
                "memory_gb": round(host.report.memory / _GIGABYTE, 1) if host.report else "",
                "release": host.report.release if host.report else "",
                "seen_at": _date(host.seen_at) if host.seen_at else "",
            }
            for host in hosts.every(connection)
        ]


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
