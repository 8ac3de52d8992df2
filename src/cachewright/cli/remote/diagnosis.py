"""`cachewright instances diagnosis`: big and hot keys, slow commands, connections of clients."""

import time
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.nodes import Node, found_node
from cachewright.cli.remote.output import AsJson, print_json, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.client.http import ApiClient

app = App(
    name="diagnosis", help="Diagnosis of a live instance: big and hot keys, slow commands, connections of clients."
)

_ALL = 1000
_MINUTE_MS = 60_000

Subject = Annotated[
    Literal["big", "hot"], Parameter(help="big: the largest values; hot: the most used keys, with an LFU policy.")
]
Times = Annotated[tuple[str, ...], Parameter(negative="", help="Time of day, HH:MM in UTC. May be repeated.")]
Minutes = Annotated[int, Parameter(help="Length of the period until now.", validator=validators.Number(gte=1))]
Limit = Annotated[int, Parameter(help="Number of entries.", validator=validators.Number(gte=1, lte=1000))]


@app.command
def analyse(
    instance: Instance,
    subject: Subject = "big",
    *,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Search all keys of an instance for big or hot ones. `keys` shows the result.

    Example: cachewright instances diagnosis analyse cache hot --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    answer = server.ask("POST", f"instances/{body['instance_id']}/{subject}key-task")
    follow(server, body["instance_id"], answer if json else f"{body['name']} is being analysed", wait, json)


@app.command
def keys(
    instance: Instance,
    subject: Subject = "big",
    *,
    analysis: Annotated[str | None, Parameter(help="Id of an analysis. Default: the newest.")] = None,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Show the keys that an analysis has found.

    Example: cachewright instances diagnosis keys cache big
    """
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}/{subject}key-task"
    chosen = analysis or _newest(server, path)
    body = server.ask("GET", f"{path}/{chosen}")
    if json:
        print_json(body)
        return
    rows = [
        (key["name"], key["type"], key["db"], key["size"], key["unit"], key.get("freq"), key["shard"])
        for key in body["keys"]
    ]
    print(f"{body['status']}, {body['finished_at'] or body['created_at']}, {body['num']} keys")
    print_table(("KEY", "TYPE", "DB", "SIZE", "UNIT", "USED", "SHARD"), rows, right=("DB", "SIZE", "USED"))


@app.command
def schedule(
    instance: Instance,
    subject: Subject = "big",
    *,
    at: Times = (),
    off: Annotated[bool, Parameter(negative="", help="No schedule.")] = False,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Show the times of day at which an instance is analysed, or change them.

    Example: cachewright instances diagnosis schedule cache big --at 03:00
    """
    if at and off:
        raise UsageError("give --at or --off")
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}/{subject}key/autoscan"
    if at or off:
        body = server.ask("PUT", path, {"enable_auto_scan": not off, "schedule_at": list(at)})
    else:
        body = server.ask("GET", path)
    if json:
        print_json(body)
    else:
        print(", ".join(body["schedule_at"]) if body["enable_auto_scan"] else "off")


@app.command
def slow_log(
    instance: Instance,
    *,
    minutes: Minutes = 60,
    sort: Annotated[Literal["time", "duration"], Parameter(help="Newest or slowest first.")] = "time",
    limit: Limit = 50,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Show commands that took longer than the parameter `slowlog-log-slower-than`.

    Example: cachewright instances diagnosis slow-log cache --minutes 15 --sort duration
    """
    server = ApiClient(target.account())
    until = int(time.time() * 1000) + _MINUTE_MS  # the clock of a node may be ahead
    body = server.ask(
        "GET",
        f"instances/{found(server, instance)['instance_id']}/slowlog",
        start_time=until - (minutes + 1) * _MINUTE_MS,
        end_time=until,
        sort_key="start_time" if sort == "time" else "duration",
        limit=limit,
    )
    if json:
        print_json(body)
        return
    rows = [
        (
            item["start_time"],
            item["duration"],
            item["shard_name"],
            item["node_role"],
            item["client_ip"],
            item["command"],
        )
        for item in body["slowlogs"]
    ]
    print_table(("BEGIN", "MS", "SHARD", "ROLE", "CLIENT", "COMMAND"), rows, right=("MS",))
    for node in body["silent_nodes"]:
        print(f"node {node} does not respond")


@app.command
def clients(
    instance: Instance,
    *,
    node: Node | None = None,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """List connections of clients, of one node or of all.

    Example: cachewright instances diagnosis clients cache
    """
    server = ApiClient(target.account())
    instance_id = found(server, instance)["instance_id"]
    listed = [item for node_id in _nodes(server, instance_id, node) for item in _clients(server, instance_id, node_id)]
    if json:
        print_json({"clients": listed, "count": len(listed)})
        return
    columns = ("peer", "addr", "name", "user", "db", "age", "idle", "cmd", "flags")
    rows = [tuple(item[column] for column in columns) for item in listed]
    titles = ("NODE", "CLIENT", "NAME", "USER", "DB", "AGE", "IDLE", "COMMAND", "FLAGS")
    print_table(titles, rows, right=("DB", "AGE", "IDLE"))


@app.command
def close_clients(
    instance: Instance,
    *addresses: Annotated[str, Parameter(help="Address of a client with its port, as `clients` shows it.")],
    node: Node | None = None,
    everyone: Annotated[
        bool, Parameter(name="--all", negative="", help="Close the connections of all clients, as a task.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Close connections of clients, of one node or of all nodes. Clients may connect again.

    Example: cachewright instances diagnosis close-clients cache 10.0.0.7:51334
    """
    if everyone is bool(addresses):
        raise UsageError("name addresses of clients, or give --all")
    if wait and not everyone:
        raise UsageError("--wait is for --all")
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}/clients"
    node_id = found_node(server, body["instance_id"], node)["node_id"] if node else ""
    if everyone:
        answer = server.ask("POST", f"{path}/kill-all", {"node_id": node_id, "kill_all_nodes": not node})
        text = f"connections of clients of {body['name']} are being closed"
        follow(server, body["instance_id"], answer if json else text, wait, json)
        return
    answer = server.ask("POST", f"{path}/kill", {"node_id": node_id, "client_addrs": list(addresses)})
    if json:
        print_json(answer)


def _newest(server: ApiClient, path: str) -> str:
    records = server.ask("GET", f"{path}s", limit=1)["records"]
    if not records:
        raise CommandFailed("the instance has no analysis; see `cachewright instances diagnosis analyse`")
    return str(records[0]["id"])


def _nodes(server: ApiClient, instance_id: str, node: str | None) -> list[str]:
    if node is not None:
        return [found_node(server, instance_id, node)["node_id"]]
    nodes = server.ask("GET", f"instances/{instance_id}/logical-nodes")["nodes"]
    return [one["node_id"] for one in nodes if one["status"] == "Active"]


def _clients(server: ApiClient, instance_id: str, node_id: str) -> list[Any]:
    listed: list[Any] = []
    while page := server.ask(
        "GET", f"instances/{instance_id}/clients", node_id=node_id, limit=_ALL, offset=len(listed)
    )["clients"]:
        listed += page
    return listed
