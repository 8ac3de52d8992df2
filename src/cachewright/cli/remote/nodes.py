"""`cachewright instances nodes`: switchover, sentinels, priority, rebuild, move, stop, start."""

from typing import Annotated, Any

from cyclopts import App, Parameter, validators

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_pairs, print_table
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, UsageError
from cachewright.client.http import ApiClient

app = App(name="nodes", help="Nodes of an instance.")

Node = Annotated[str, Parameter(help="Id of the node, or the first characters of it.")]


@app.command
def switchover(
    instance: Instance,
    node: Node | None = None,
    *,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Make a replica the primary of its shard. No acknowledged write is lost. Sentinel chooses the replica of an
    instance of type ha, which is named without a node.

    Example: cachewright instances nodes switchover cache 3f2a --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    if (body["cache_mode"] == "ha") is (node is not None):
        raise UsageError("name the instance and a node, or only an instance of type ha")
    if node is None:
        answer = server.ask("PUT", f"instances/{body['instance_id']}/async-swap")
        text = f"a replica becomes the primary of {body['name']}"
        follow(server, body["instance_id"], answer if json else text, wait, json)
        return
    chosen = found_node(server, body["instance_id"], node)
    path = f"instance/{body['instance_id']}/groups/{chosen['group_id']}/replications/{chosen['node_id']}"
    answer = server.ask("POST", f"{path}/async-switchover")
    text = f"{chosen['node_id']} becomes the primary of {chosen['group_name']}"
    follow(server, body["instance_id"], answer if json else text, wait, json)


@app.command
def sentinels(instance: Instance, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show the sentinels of an instance of type ha, for clients that support Sentinel."""
    server = ApiClient(target.account())
    body = server.ask("GET", f"instances/{found(server, instance)['instance_id']}/sentinels")
    if json:
        print_json(body)
        return
    print_pairs([(name, body[name]) for name in ("name", "username")])
    print_table(("ADDRESS",), [(f"{sentinel['ip']}:{sentinel['port']}",) for sentinel in body["sentinels"]])


@app.command
def priority(
    instance: Instance,
    node: Node,
    weight: Annotated[
        int, Parameter(help="1: first, 100: last, 0: never.", validator=validators.Number(gte=0, lte=100))
    ],
    *,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Set the order in which the replicas of a shard take over."""
    server = ApiClient(target.account())
    body = found(server, instance)
    chosen = found_node(server, body["instance_id"], node)
    path = f"instances/{body['instance_id']}/groups/{chosen['group_id']}/replications/{chosen['node_id']}"
    answer = server.ask("POST", f"{path}/slave-priority", {"slave_priority_weight": weight})
    if json:
        print_json(answer)
    else:
        print(f"{chosen['node_id']} has priority {weight}")


@app.command
def rebuild(
    instance: Instance, node: Node, *, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False
) -> None:
    """Repair a node that does not start, or give a replica all data of its primary again.

    Example: cachewright instances nodes rebuild cache 3f2a --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    chosen = found_node(server, body["instance_id"], node)
    answer = server.ask("POST", f"instances/{body['instance_id']}/nodes/{chosen['node_id']}/rebuild")
    follow(server, body["instance_id"], answer if json else f"{chosen['node_id']} is rebuilt", wait, json)


@app.command
def move(
    instance: Instance,
    *zones: Annotated[str, Parameter(help="Availability zone; several divide the copies of each shard.")],
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Move the nodes of an instance to other availability zones, while it serves.

    Example: cachewright instances nodes move cache az1 az2 --wait
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    path = f"instances/{body['instance_id']}/available-zones"
    answer = server.ask("PUT", path, {"new_available_zones": list(zones)})
    result = {"body": answer} if json else f"{body['name']} to {', '.join(zones)}"
    follow(server, body["instance_id"], result, wait, json)


@app.command
def stop(
    instance: Instance, *nodes: Node, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False
) -> None:
    """Stop nodes until they are started again; without ids, all nodes of the instance.

    Example: cachewright instances nodes stop cache 3f2a --wait
    """
    _change_status(instance, nodes, "stop", target, wait=wait, json=json)


@app.command
def start(
    instance: Instance, *nodes: Node, target: Target = DEFAULT_TARGET, wait: Wait = False, json: AsJson = False
) -> None:
    """Start nodes that were stopped; without ids, all nodes of the instance."""
    _change_status(instance, nodes, "start", target, wait=wait, json=json)


def _change_status(
    instance: str, nodes: tuple[str, ...], action: str, target: Target, *, wait: bool, json: bool
) -> None:
    server = ApiClient(target.account())
    body = found(server, instance)
    ids = [found_node(server, body["instance_id"], node)["node_id"] for node in nodes]
    answer = server.ask("PUT", f"instances/{body['instance_id']}/nodes/status", {"action": action, "node_ids": ids})
    result = {"body": answer} if json else f"{action}: {len(ids) or 'all'} nodes"
    follow(server, body["instance_id"], result, wait, json)


def found_node(server: ApiClient, instance_id: str, node: str) -> Any:
    """Return the node of an instance whose id begins with `node`. CommandFailed unless there is exactly one."""
    nodes = server.ask("GET", f"instances/{instance_id}/logical-nodes")["nodes"]
    fitting = [one for one in nodes if one["node_id"].startswith(node.lower())]
    if len(fitting) != 1:
        raise CommandFailed(f"{len(fitting)} nodes of the instance have an id that begins with {node!r}")
    return fitting[0]
