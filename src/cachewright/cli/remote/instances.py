"""`cachewright instances`."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from cachewright.cli.remote.following import InWindow, Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.modes import Mode, with_mode
from cachewright.cli.remote.output import AsJson, print_json, print_pairs, print_table
from cachewright.cli.remote.sizes import MemoryGb, NewType, RemovedNodes, Replicas, ShardGb, Shards, Spec, resized
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

app = App(name="instances", help="Instances, over the API.")
app.command(
    "cachewright.cli.remote.creation:create",
    help="Create an instance: a cluster, a primary/standby instance (ha), or a single node.",
)
app.command(
    "cachewright.cli.remote.parameters:app",
    name="parameters",
    help="Parameters of an instance: list, set.",
)
app.command(
    "cachewright.cli.remote.nodes:app",
    name="nodes",
    help="Nodes of an instance: switchover, sentinels, priority, rebuild, move, stop, start.",
)
app.command(
    "cachewright.cli.remote.connections:tls",
    help="Show whether clients connect with TLS, or switch it.",
)
app.command(
    "cachewright.cli.remote.connections:certificate",
    help="Print the certificate with which clients verify an instance (PEM).",
)
app.command(
    "cachewright.cli.remote.connections:whitelist",
    help="Show the addresses from which clients may connect, or replace them.",
)
app.command(
    "cachewright.cli.remote.versions:version",
    help="Show the version of valkey-server that each node runs, and those that it can be upgraded to.",
)
app.command(
    "cachewright.cli.remote.versions:upgrade",
    help="Upgrade the nodes of an instance to another valkey-server, one after another, replicas first.",
)
app.command(
    "cachewright.cli.remote.accounts:app",
    name="accounts",
    help="Accounts and disabled commands of an instance.",
)

app.command(
    "cachewright.cli.remote.diagnosis:app",
    name="diagnosis",
    help="Diagnosis of a live instance: big and hot keys, slow commands, connections of clients.",
)

_ALL = 1000
_ROLES = {"master": "primary", "slave": "replica"}
"""Roles of nodes by their names in the cloud's API."""


@app.command(name="list")
def show_all(*, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """List all instances of the project, newest first."""
    body = ApiClient(target.account()).ask("GET", "instances", limit=_ALL, include_failure="true")
    if json:
        print_json(body)
        return
    columns = ("NAME", "ID", "TYPE", "STATUS", "SHARDS", "MEMORY", "USED", "ADDRESS", "CREATED")
    rows = [
        (
            item["name"],
            item["instance_id"],
            item["cache_mode"],
            item["status"],
            item["sharding_count"],
            f"{item['max_memory']} MB",
            f"{item['used_memory']} MB",
            f"{item['ip']}:{item['port']}",
            item["created_at"],
        )
        for item in body["instances"]
    ]
    print_table(columns, rows, right=("SHARDS", "MEMORY", "USED"))


@app.command
def show(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show an instance with its nodes."""
    server = ApiClient(target.account())
    body = found(server, instance)
    if json:
        print_json(body)
        return
    names = ("name", "instance_id", "status", "error_code", "task", "spec_code", "sharding_count", "replica_count")
    print_pairs([(name, body[name]) for name in names])
    print_pairs(
        [
            ("address", f"{body['ip']}:{body['port']}"),
            ("memory", f"{body['used_memory']} of {body['max_memory']} MB"),
            ("created", f"{body['created_at']} by {body['user_name']}"),
        ]
    )
    incidents = server.ask("GET", f"instances/{body['instance_id']}/state")["incidents"]
    print_pairs([("incident", f"{one['error_code']} {one['kind']}: {one['detail']}") for one in incidents])
    nodes = server.ask("GET", f"instances/{body['instance_id']}/logical-nodes")["nodes"]
    rows = [
        (
            node["group_name"],
            _ROLES[node["node_type"]],
            node["status"],
            f"{node['node_ip']}:{node['node_port']}",
            node["node_id"],
        )
        for node in nodes
    ]
    print_table(("SHARD", "ROLE", "STATUS", "ADDRESS", "NODE"), rows)


@app.command
def quota(*, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show the resources of the project in use, and its quotas."""
    body = ApiClient(target.account()).ask("GET", "quota")
    if json:
        print_json(body)
        return
    rows = [
        (item["type"], item["used"], "unlimited" if item["quota"] < 0 else item["quota"], item["unit"] or "")
        for item in body["quotas"]["resources"]
    ]
    print_table(("TYPE", "USED", "QUOTA", "UNIT"), rows, right=("USED", "QUOTA"))


@app.command
def resize(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    shards: Shards = None,
    shard_gb: ShardGb = None,
    replicas: Replicas = None,
    memory_gb: MemoryGb = None,
    type_: NewType = None,
    spec: Spec = None,
    remove_node: RemovedNodes = (),
    mode: Mode = None,
    in_maintenance_window: InWindow = False,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Resize an instance online: shards, their size, replicas, or the memory of a single or ha instance.

    Example: cachewright instances resize cache --shards 5 --wait
    Example: cachewright instances resize cache --replicas 1

    Example: cachewright instances resize sessions --type cluster --shards 3

    --replicas makes a single instance one of type ha; --replicas 0 makes an ha instance a single one. --type cluster
    makes either a cluster.
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    flavor = resized(body["spec_code"], shards, shard_gb, spec, memory_gb=memory_gb, replicas=replicas, kind=type_)
    size = {"spec_code": flavor.spec_code, "new_capacity": float(flavor.capacity_gb), "node_list": remove_node}
    size["execute_immediately"] = not in_maintenance_window
    answer = server.ask("POST", f"instances/{body['instance_id']}/resize", with_mode(size, mode))
    follow(server, body["instance_id"], answer if json else f"{body['name']} to {flavor.spec_code}", wait, json)


@app.command
def restart(instance: Instance, *, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False) -> None:
    """Restart the nodes of an instance one after another. No data is lost; a shard with replicas stays available.

    Example: cachewright instances restart cache --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    answer = server.ask("PUT", "instances/status", {"instances": [body["instance_id"]], "action": "restart"})
    _require_success(body, answer)
    follow(server, body["instance_id"], answer if json else f"{body['name']} is being restarted", wait, json)


@app.command
def scan(instance: Instance, *, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False) -> None:
    """Scan an instance for expired keys, so that its nodes delete them and free their memory.

    Example: cachewright instances scan cache --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    answer = server.ask("POST", f"instances/{body['instance_id']}/auto-expire/scan")
    follow(server, body["instance_id"], answer if json else f"{body['name']} is being scanned", wait, json)


@app.command
def flush(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    yes: Annotated[bool, Parameter(negative="", help="Do not ask for confirmation.")] = False,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Delete all keys of an instance. Its nodes, parameters and address stay."""
    server = ApiClient(target.account())
    body = found(server, instance)
    _confirm(body, "nothing was flushed", yes=yes)
    answer = server.ask("PUT", "instances/status", {"instances": [body["instance_id"]], "action": "flush"})
    _require_success(body, answer)
    follow(server, body["instance_id"], answer if json else f"{body['name']} is being flushed", wait, json)


@app.command
def delete(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    yes: Annotated[bool, Parameter(negative="", help="Do not ask for confirmation.")] = False,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Delete an instance and all its data."""
    server = ApiClient(target.account())
    body = found(server, instance)
    _confirm(body, "nothing was deleted", yes=yes)
    answer = server.ask("DELETE", f"instances/{body['instance_id']}")
    follow(server, body["instance_id"], answer if json else f"{body['name']} is being deleted", wait, json)


def _confirm(body: Any, unchanged: str, *, yes: bool) -> None:
    if not yes:
        print(f"{body['name']} ({body['instance_id']}), {body['used_memory']} MB in use")
        if input("Type the name of the instance to confirm: ") != body["name"]:
            raise CommandFailed(f"the name does not match; {unchanged}")


def _require_success(body: Any, answer: Any) -> None:
    """CommandFailed with the reason if RestartOrFlushInstances has refused the only instance."""
    (result,) = answer["results"]
    if result["result"] != "success":
        raise CommandFailed(f"{body['name']} is {body['status']}: {result['error_msg']} ({result['error_code']})")
