"""`cachewright instances`."""

import re
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from cachewright.cli.admin.passwords import new_password
from cachewright.cli.remote.modes import Mode, with_mode
from cachewright.cli.remote.output import AsJson, print_json, print_pairs, print_table
from cachewright.cli.remote.watching import watch
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, RequestRefused, UsageError
from cachewright.client.http import ApiClient
from cachewright.flavors import SINGLE_CAPACITIES_MB, Flavor, UnknownFlavor, cluster_code, ha_code, parse, single_code

app = App(name="instances", help="Instances, over the API.")
app.command(
    "cachewright.cli.remote.parameters:app",
    name="parameters",
    help="Parameters of an instance: list, set.",
)
app.command(
    "cachewright.cli.remote.nodes:app",
    name="nodes",
    help="Nodes of an instance: switchover, priority, rebuild, stop, start.",
)
app.command(
    "cachewright.cli.remote.connections:tls",
    help="Show whether clients connect with TLS, or switch it.",
)
app.command(
    "cachewright.cli.remote.connections:certificate",
    help="Print the certificate by which clients verify an instance, PEM.",
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

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ALL = 1000
_RECENT = 50
_NOT_FOUND = 404
_ROLES = {"master": "primary", "slave": "replica"}
"""Roles of nodes by their names in the cloud's API."""

Instance = Annotated[str, Parameter(help="Id or name of the instance.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait until the task has ended, and show its progress.")]
_PORT = validators.Number(gte=1024, lte=65535)
ShardGb = Annotated[int | None, Parameter(help="Memory per shard, in GB.", validator=validators.Number(gte=1))]
Shards = Annotated[int | None, Parameter(help="Number of shards.", validator=validators.Number(gte=1, lte=128))]
Replicas = Annotated[int | None, Parameter(help="Replicas of each primary.", validator=validators.Number(gte=0, lte=5))]
MemoryGb = Annotated[float | None, Parameter(help="Memory of a single or ha instance, in GB: 0.125 to 64.")]
RemovedNodes = Annotated[
    tuple[str, ...], Parameter(negative="", help="Id of a node to remove, with fewer --replicas. May be repeated.")
]
InWindow = Annotated[bool, Parameter(negative="", help="Begin in the maintenance window of the instance.")]
Spec = Annotated[str | None, Parameter(help="Spec code, instead of sizes.")]


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
def create(
    name: Annotated[str, Parameter(help="Name of the instance.")],
    *,
    target: Target = DEFAULT_TARGET,
    type_: Annotated[
        Literal["cluster", "ha", "single"],
        Parameter(
            name="--type",
            help="A cluster of shards; ha, a primary with replicas and automatic failover; or a single node.",
        ),
    ] = "cluster",
    shards: Shards = None,
    shard_gb: ShardGb = None,
    replicas: Replicas = None,
    memory_gb: MemoryGb = None,
    spec: Spec = None,
    engine_version: Annotated[str, Parameter(help="Engine version, by the number that the cloud uses.")] = "7.0",
    zone: Annotated[
        tuple[str, ...],
        Parameter(
            help="Availability zone. Repeat it for several; primaries go to the first. Default: all zones.", negative=""
        ),
    ] = (),
    port: Annotated[
        int | None, Parameter(help="Port for clients; the server chooses one if not given.", validator=_PORT)
    ] = None,
    template: Annotated[
        str | None, Parameter(help="Id of the template of the first parameters; see `cachewright templates list`.")
    ] = None,
    from_backup: Annotated[
        str | None,
        Parameter(help="Id of the backup whose data the instance begins with; see `cachewright backups list`."),
    ] = None,
    tls: Annotated[bool, Parameter(negative="", help="Clients connect with TLS; not for clusters.")] = False,
    no_password: Annotated[bool, Parameter(negative="", help="Clients need no password.")] = False,
    password_stdin: Annotated[bool, Parameter(negative="", help="Read the password from standard input.")] = False,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Create an instance: a cluster, a primary/standby instance (ha), or a single node.

    Example: cachewright instances create cache --shards 3 --replicas 1 --wait
    Example: cachewright instances create cache --type ha --replicas 1 --memory-gb 2
    Example: cachewright instances create cache --type single --memory-gb 0.5
    Example: cachewright instances create copy --shards 5 --from-backup 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10
    """
    server = ApiClient(target.account())
    if spec:
        flavor = _flavor(spec)
    elif type_ == "single":
        _require_no_shards(type_, shards, shard_gb, replicas)
        flavor = _flavor(single_code(_cpu(server), _megabytes(memory_gb or 1)))
    elif type_ == "ha":
        _require_no_shards(type_, shards, shard_gb)
        if replicas == 0:
            raise UsageError("an ha instance has 1 to 5 replicas; --type single has none")
        flavor = _flavor(ha_code(_cpu(server), _megabytes(memory_gb or 1), (replicas or 1) + 1))
    else:
        _require_no_memory(memory_gb)
        copies = (replicas or 0) + 1
        flavor = _flavor(cluster_code(_cpu(server), shards=shards or 3, shard_gb=shard_gb or 1, copies=copies))
    access: dict[str, Any] = {"no_password_access": True} if no_password else {"password": new_password(password_stdin)}
    body = {
        "name": name,
        "engine": "Redis",
        "engine_version": engine_version,
        "capacity": float(flavor.capacity_gb),
        "spec_code": flavor.spec_code,
        "az_codes": list(zone) or _zones(server, flavor),
        "vpc_id": "local",
        "subnet_id": "local",
        **({"port": port} if port else {}),
        **({"template_id": template} if template else {}),
        **({"backup_id": from_backup} if from_backup else {}),
        "enable_ssl": tls,
        **access,
    }
    answer = server.ask("POST", "instances", body)
    instance_id = answer["instances"][0]["instance_id"]
    follow(server, instance_id, answer if json else f"{name} {instance_id}", wait, json)


@app.command
def resize(
    instance: Instance,
    *,
    target: Target = DEFAULT_TARGET,
    shards: Shards = None,
    shard_gb: ShardGb = None,
    replicas: Replicas = None,
    memory_gb: MemoryGb = None,
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

    --replicas makes a single instance one of type ha; --replicas 0 makes an ha instance a single one.
    """
    server = ApiClient(target.account())
    body = found(server, instance)
    flavor = resized(body["spec_code"], shards, shard_gb, spec, memory_gb=memory_gb, replicas=replicas)
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


def found(server: ApiClient, instance: str) -> Any:
    """Look up an instance by id, or by name. CommandFailed if no instance or several have the name."""
    if _UUID.fullmatch(instance):
        return server.ask("GET", f"instances/{instance}")
    named = server.ask("GET", "instances", name=instance, name_equal="true", limit=_ALL, include_failure="true")
    ids = [item["instance_id"] for item in named["instances"]]
    if len(ids) != 1:
        many = f"{len(ids)} instances have the name {instance!r}; use an id: {', '.join(ids)}"
        raise CommandFailed(many if ids else f"there is no instance {instance!r}")
    return server.ask("GET", f"instances/{ids[0]}")


def resized(
    present: str,
    shards: int | None,
    shard_gb: int | None,
    spec: str | None,
    *,
    memory_gb: float | None = None,
    replicas: int | None = None,
) -> Flavor:
    """The new flavor of an instance with spec code `present`; None keeps a size. UsageError if no such flavor
    exists."""
    if spec:
        return _flavor(spec)
    old = _flavor(present)
    cpu = present.split(".")[2]
    if old.cache_mode != "cluster":
        _require_no_shards(old.cache_mode, shards, shard_gb)
        if memory_gb is None and replicas is None:
            raise UsageError("name a change: --memory-gb, --replicas or --spec")
        megabytes = old.capacity_mb if memory_gb is None else _megabytes(memory_gb)
        copies = old.copies if replicas is None else replicas + 1
        return _flavor(single_code(cpu, megabytes) if copies == 1 else ha_code(cpu, megabytes, copies))
    _require_no_memory(memory_gb)
    if shards is None and shard_gb is None and replicas is None:
        raise UsageError("name a change: --shards, --shard-gb, --replicas or --spec")
    size_gb = shard_gb or old.shard_mb // 1024
    copies = old.copies if replicas is None else replicas + 1
    return _flavor(cluster_code(cpu, shards=shards or old.shards, shard_gb=size_gb, copies=copies))


def _megabytes(gigabytes: float) -> int:
    """The memory of an instance that is no cluster. UsageError if no flavor has it."""
    if gigabytes * 1024 not in SINGLE_CAPACITIES_MB:
        sizes = ", ".join(f"{megabytes / 1024:g}" for megabytes in SINGLE_CAPACITIES_MB)
        raise UsageError(f"single and ha instances have {sizes} GB, not {gigabytes:g}")
    return int(gigabytes * 1024)


def _require_no_shards(kind: str, *sizes: int | None) -> None:
    if any(size is not None for size in sizes):
        with_replicas = " and --replicas" if kind == "ha" else ""
        raise UsageError(f"{kind}: an instance of this type has no shards; use --memory-gb{with_replicas}")


def _require_no_memory(memory_gb: float | None) -> None:
    if memory_gb is not None:
        raise UsageError("--memory-gb is for single and ha instances; a cluster has --shards and --shard-gb")


def _flavor(spec_code: str) -> Flavor:
    try:
        return parse(spec_code)
    except UnknownFlavor as unknown:
        raise UsageError(str(unknown)) from unknown


def _cpu(server: ApiClient) -> str:
    """The processor type of the server, as in spec codes."""
    return str(server.ask("GET", "flavors")["flavors"][0]["spec_code"].split(".")[2])


def _zones(server: ApiClient, flavor: Flavor) -> list[str]:
    """All zones in which the server has room for such instances."""
    (listed,) = server.ask("GET", "flavors", spec_code=flavor.spec_code)["flavors"]
    return list(listed["flavors_available_zones"][0]["az_codes"])


def follow(server: ApiClient, instance_id: str, result: Any, wait: bool, json: bool) -> None:
    """Print the result, or with `wait` follow the newest task. CommandFailed if that task fails."""
    if not wait:
        if json:
            print_json(result)
        else:
            print(result)
        return
    if not watch(server, [newest_task(server, instance_id)], json):
        raise CommandFailed("the task has failed")


def newest_task(server: ApiClient, instance_id: str) -> str:
    """Id of the newest task of the instance, also if that task has already deleted the instance."""
    try:
        return str(server.ask("GET", f"instances/{instance_id}/tasks", limit=1)["tasks"][0]["id"])
    except RequestRefused as refused:
        if refused.status != _NOT_FOUND:
            raise
        for task in server.ask("GET", "tasks", limit=_RECENT)["tasks"]:
            if server.ask("GET", f"tasks/{task['id']}")["instance_id"] == instance_id:
                return str(task["id"])
        raise
