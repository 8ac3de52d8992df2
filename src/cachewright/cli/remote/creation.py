"""`cachewright instances create`."""

from typing import Annotated, Any

from cyclopts import Parameter, validators

from cachewright.cli.admin.passwords import new_password
from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.output import AsJson
from cachewright.cli.remote.sizes import InstanceType, MemoryGb, Replicas, ShardGb, Shards, Spec, chosen
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.http import ApiClient
from cachewright.flavors import Flavor

_PORT = validators.Number(gte=1024, lte=65535)


def create(
    name: Annotated[str, Parameter(help="Name of the instance.")],
    *,
    target: Target = DEFAULT_TARGET,
    type_: Annotated[
        InstanceType,
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
        str | None,
        Parameter(help="Id of the template with the parameters of the instance; see `cachewright templates list`."),
    ] = None,
    from_backup: Annotated[
        str | None,
        Parameter(help="Id of the backup from which the instance gets its first data; see `cachewright backups list`."),
    ] = None,
    tls: Annotated[bool, Parameter(negative="", help="Clients connect with TLS.")] = False,
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
    flavor = chosen(server, type_, shards, shard_gb, spec, memory_gb=memory_gb, replicas=replicas)
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


def _zones(server: ApiClient, flavor: Flavor) -> list[str]:
    """All zones in which the server has room for such instances."""
    (listed,) = server.ask("GET", "flavors", spec_code=flavor.spec_code)["flavors"]
    return list(listed["flavors_available_zones"][0]["az_codes"])
