"""`cachewright hosts`."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import sqlalchemy as sa
from cyclopts import App, Parameter

from cachewright.cli.admin import agent_roles
from cachewright.cli.admin.data_dir import AsJson, DataDirectory, print_rows
from cachewright.hosts.agent_reports import SILENT_SECONDS
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.services import hosts as service
from cachewright.services import rebalance as balancing
from cachewright.services.accounts import InvalidInput
from cachewright.services.host_traffic import traffic
from cachewright.services.leaving_sentinels import leaving_sentinels
from cachewright.store import hosts, sentinels, server_records

app = App(
    name="hosts",
    help="Hosts of nodes: list, show, add, grant, remove, drain, rebalance, cordon, uncordon, label.",
)
app.command(agent_roles.grant)

Name = Annotated[str, Parameter(help="Name of the host. The server's own machine is `local`.")]

_GIGABYTE = 2**30
_POLL_SECONDS = 0.5


@app.command(name="list")
def show_all(*, folder: DataDirectory, json: AsJson = False) -> None:
    """List hosts with their zones, capacity and numbers of nodes, and whether their agents report."""
    columns = ("name", "address", "zone", "state", "reports", "nodes", "sentinels", "cpus", "memory_gb")
    print_rows(_rows(folder), columns, json)


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
    agent_roles.make_schema(folder, name)


@app.command
def remove(
    name: Name,
    *,
    lost: Annotated[
        bool,
        Parameter(
            negative="",
            help="The host will not come back: its nodes are recreated on other hosts from the remaining copies. "
            "Writes that only its nodes had are lost.",
        ),
    ] = False,
    folder: DataDirectory,
) -> None:
    """Remove a host without nodes and sentinels, or one that is lost. Its agent stops.

    Example: cachewright hosts remove host2 --lost --data-dir ./data
    """
    if lost:
        seen_at = _require_silent(name, folder)
        with folder.change("dcs:hosts:giveUp", subject=name) as connection:
            _require_seen_at(connection, name, seen_at)
            count = service.give_up(connection, name)
        if count:
            print(f"{count} nodes are made again on other hosts. The host is removed when it has none.")
            return
    else:
        with folder.change("dcs:hosts:remove", subject=name) as connection:
            service.remove(connection, name)
    agent_roles.remove_access(folder, name)


@app.command
def drain(
    name: Name,
    *,
    wait: Annotated[
        bool, Parameter(negative="", help="Wait until all nodes and sentinels that can move have moved.")
    ] = False,
    folder: DataDirectory,
) -> None:
    """Move all nodes and sentinels of a host to other hosts, while they serve clients. `uncordon` ends that.

    The server starts a task MoveNodes for each instance, some at a time.

    Example: cachewright hosts drain host2 --wait --data-dir ./data
    """
    with folder.change("dcs:hosts:drain", subject=name) as connection:
        service.set_state(connection, name, "draining")
        left = _Drain.read(connection, name)
    left.print_changes(_Drain())
    while wait and left.is_leaving:
        time.sleep(_POLL_SECONDS)
        with folder.read() as connection:
            if service.require(connection, name).state != "draining":
                sys.exit(f"cachewright: the drain of host {name} was ended")
            before, left = left, _Drain.read(connection, name)
        left.print_changes(before)
    if wait and (left.staying or left.sentinels):
        sys.exit(1)


@app.command
def rebalance(
    *,
    apply: Annotated[bool, Parameter(negative="", help="Start the moves.")] = False,
    folder: DataDirectory,
    json: AsJson = False,
) -> None:
    """Show moves that spread nodes evenly over the hosts, such as after a host was added, or start them with `--apply`.

    Nodes stay in their zones. The server starts a task MoveNodes for each instance.

    Example: cachewright hosts rebalance --apply --data-dir ./data
    """
    with folder.read() as connection:
        moves = balancing.plan(connection)
    refused: Mapping[str, str] = {}
    if apply:
        with folder.change("dcs:hosts:rebalance") as connection:
            refused = balancing.start(connection, moves)
    rows: list[dict[str, object]] = [
        {
            "node_id": move.node.id,
            "instance_id": move.node.instance_id,
            "shard": move.node.shard,
            "from": move.node.host_name,
            "to": move.to,
            "memory_gb": round(move.bytes / _GIGABYTE, 1),
            "stays": refused.get(move.node.instance_id, ""),
        }
        for move in moves
    ]
    print_rows(rows, ("node_id", "instance_id", "shard", "from", "to", "memory_gb", "stays"), json)


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


class _Drain(msgspec.Struct, frozen=True):
    """The state of a drain: what has not left the host.

    :ivar staying: why nodes stay, by the id of their instance.
    :ivar leaving: number of nodes that leave, and what they wait for, by the id of their instance.
    :ivar sentinels: number of sentinels.
    :ivar obstacle: why the sentinels stay; empty if they leave.
    """

    staying: Mapping[str, str] = {}
    leaving: Mapping[str, tuple[int, str]] = {}
    sentinels: int = 0
    obstacle: str = ""

    @classmethod
    def read(cls, connection: sa.Connection, name: str) -> "_Drain":
        staying, leaving = service.staying(connection, name), service.leaving(connection, name)
        return cls(staying, leaving, *leaving_sentinels(connection, name))

    @property
    def is_leaving(self) -> bool:
        return bool(self.leaving or (self.sentinels and not self.obstacle))

    def print_changes(self, before: "_Drain") -> None:
        """Print what differs from `before`: how many nodes and sentinels are left, which instances wait, what stays."""
        for instance_id, reason in sorted(self.staying.items()):
            if before.staying.get(instance_id) != reason:
                print(f"Instance {instance_id} stays: {reason}.", flush=True)
        if self.node_count != before.node_count:
            print(f"{self.node_count} nodes left", flush=True)
        for instance_id, (number, obstacle) in sorted(self.leaving.items()):
            if obstacle and before.leaving.get(instance_id, (0, ""))[1] != obstacle:
                print(f"Instance {instance_id} waits with {number} nodes: {obstacle}", flush=True)
        if self.obstacle:
            if self.obstacle != before.obstacle:
                print(f"{self.sentinels} sentinels stay: {self.obstacle}.", flush=True)
        elif self.sentinels != before.sentinels:
            print(f"{self.sentinels} sentinels left", flush=True)

    @property
    def node_count(self) -> int:
        return sum(number for number, _ in self.leaving.values())


def _require_silent(name: str, folder: DataDirectory) -> int | None:
    """Raise InvalidInput if the host reports within the time after which it counts as silent. Return the time of its
    last report."""
    with folder.read() as connection:
        seen_at = service.require(connection, name).seen_at
    deadline = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        with folder.read() as connection:
            _require_seen_at(connection, name, seen_at)
    return seen_at


def _require_seen_at(connection: sa.Connection, name: str, seen_at: int | None) -> None:
    if service.require(connection, name).seen_at != seen_at:
        raise InvalidInput(f"host {name} reports; cachewright hosts drain {name} moves its nodes away")


def _rows(folder: DataDirectory) -> list[dict[str, object]]:
    with folder.read() as connection:
        counts, now = hosts.node_counts(connection), server_records.now(connection)
        every = hosts.every(connection)
        between = traffic(connection, every)
        return [
            {
                "name": host.name,
                "address": host.address,
                "zone": host.zone,
                "state": host.state,
                "reports": _reports(host, now),
                "nodes": counts.get(host.name, 0),
                "sentinels": len(sentinels.on_host(connection, host.name)),
                "cpus": host.report.cpus if host.report else "",
                "memory_gb": round(host.report.memory / _GIGABYTE, 1) if host.report else "",
                "release": host.report.release if host.report else "",
                "traffic": between[host.name].shown if host.name in between else "",
                "own_role": host.report.has_own_role if host.report else "",
                "seen_at": _date(host.seen_at) if host.seen_at else "",
            }
            for host in every
        ]


def _reports(host: HostRecord, now: int) -> str:
    """Return whether the agent of a host reports, for people; empty for the machine of the server, which has none."""
    if host.name == EMBEDDED:
        return ""
    silent = service.silent_seconds(host, now)
    if silent is None:
        return "yes"
    return f"not for {silent:.0f} s" if host.seen_at else "not yet"


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
