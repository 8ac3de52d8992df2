"""Responses of CreateInstance, ListInstances and ShowInstance. Types follow the SDK's models."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.backup_policies import InstanceBackupPolicy, shown_policy
from cachewright.api.schemas.flavors import RESOURCE_TYPE, SERVICE_TYPE, ZONE
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.flavors import MEGABYTE, Flavor, parse
from cachewright.model.backup_policies import policy_of
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.maintenance_window import times_of
from cachewright.operations.upgrade import UPGRADE
from cachewright.topologies import CLUSTER, topology_of

_ASSURED_MBIT, _ASSURED_MBIT_SMALL = 768, 384  # per shard, and per shard of at most 1 GB

Status = Literal[
    "CREATING", "CREATEFAILED", "RUNNING", "ERROR", "RESTARTING", "FROZEN", "EXTENDING", "RESTORING", "FLUSHING",
    "PAYING", "FREEZING", "MIGRATING", "UPGRADING", "DELETING",
]  # fmt: skip


class Created(msgspec.Struct, frozen=True):
    instance_id: str
    instance_name: str


class CreatedList(msgspec.Struct, frozen=True):
    instances: list[Created]


class InstancesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`tags` is `key.value`, or several of them separated by commas. `capacity` is documented in the reference, but not
    in the SDK.

    The reference is ambiguous about `name_equal`: it can be a flag or the name itself. Both are accepted.

    All values except `true` in `include_failure` mean false. `include_delete` has no effect, because deleted instances
    are not stored.
    """

    instance_id: str | None = None
    name: str | None = None
    name_equal: str = ""
    status: Status | None = None
    include_failure: str = "true"
    offset: Offset = 0
    limit: Limit = 10
    tags: str = ""
    ip: str | None = None
    capacity: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class Features(msgspec.Struct, frozen=True):
    support_acl: bool = False
    support_transparent_client_ip: bool = False
    support_ssl: bool = False
    support_audit_log: bool = False


class BandwidthInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Bandwidth in Mbit/s. Temporary extra bandwidth is not supported, so its times are null."""

    bandwidth: int
    assured_bandwidth: int
    max_bandwidth_for_node: int | None = None
    begin_time: int | None = None
    end_time: int | None = None
    current_time: int | None = None
    next_expand_time: int | None = None
    expand_count: int = 0
    expand_effect_time: int | None = None
    expand_interval_time: int | None = None
    max_expand_count: int = 0
    task_running: bool = False


class DomainNameInfo(msgspec.Struct, frozen=True):
    support_public_resolve: bool = False
    is_latest_rules: bool = True
    zone_name: str = ""
    history_domain_names: tuple[()] = ()


class InstanceItem(msgspec.Struct, frozen=True, kw_only=True):
    """Members that ListInstances and ShowInstance share."""

    instance_id: str
    name: str
    status: str
    sub_status: str = "normal"
    description: str
    engine: str = "Redis"
    engine_version: str
    cache_mode: str
    spec_code: str
    capacity: int
    capacity_minor: str
    max_memory: int
    used_memory: int
    ip: str
    port: int
    domain_name: str
    readonly_domain_name: str = ""
    no_password_access: str
    access_user: str = ""
    charging_mode: int = 0
    vpc_id: str
    vpc_name: str
    subnet_id: str
    subnet_name: str
    security_group_id: str | None
    enterprise_project_id: str | None
    az_codes: list[str]
    available_zones: list[str]
    maintain_begin: str
    maintain_end: str
    created_at: str | None
    launched_at: str | None
    user_id: str
    user_name: str
    tags: list[dict[str, str]]
    cpu_type: str
    replica_count: int
    sharding_count: int
    features: Features = Features()
    enable_ssl: bool = False
    enable_publicip: bool = False
    publicip_id: str | None = None
    publicip_address: str | None = None
    service_upgrade: bool = False
    service_task_id: str = ""
    order_id: str | None = None
    error_code: str | None


class ListedInstance(InstanceItem, frozen=True, kw_only=True):
    updated_at: str | None


class ShownInstance(InstanceItem, frozen=True, kw_only=True):
    """`task` is an extension: the name of the task that runs on the instance, or null."""

    update_at: str | None
    task: str | None
    backend_addrs: str
    bandwidth_info: BandwidthInfo
    cloud_resource_type_code: str = RESOURCE_TYPE
    cloud_service_type_code: str = SERVICE_TYPE
    db_number: int
    domain_name_info: DomainNameInfo = DomainNameInfo()
    enterprise_project_name: str | None
    inquery_spec_code: str
    instance_backup_policy: InstanceBackupPolicy | None
    product_type: str = "generic"
    security_group_name: str | None
    storage_type: str = "DRAM"
    subnet_cidr: str | None = None
    support_slow_log_flag: str = "false"
    transparent_client_ip_enable: bool = False


class InstanceList(msgspec.Struct, frozen=True):
    instance_num: int
    instances: list[ListedInstance]


def listed(instance: Instance, used_memory: int) -> ListedInstance:
    return ListedInstance(updated_at=iso(instance.updated_at), **_shared(instance, used_memory))


def shown(instance: Instance, nodes: Sequence[Node], used_memory: int, unfinished: Sequence[Task]) -> ShownInstance:
    """Return the response of ShowInstance. `unfinished` are the instance's tasks that have not ended, oldest first."""
    flavor = parse(instance.spec_code)
    upgrades = [task.id for task in unfinished if task.kind == UPGRADE.kind]
    assured = flavor.shards * (_ASSURED_MBIT if flavor.shard_mb > 1024 else _ASSURED_MBIT_SMALL)
    return ShownInstance(
        update_at=iso(instance.updated_at),
        task=unfinished[0].name if unfinished else None,
        service_upgrade=bool(upgrades),
        service_task_id=next(iter(upgrades), ""),
        backend_addrs=",".join(f"{node.host}:{node.port}" for node in nodes),
        bandwidth_info=BandwidthInfo(bandwidth=assured, assured_bandwidth=assured),
        instance_backup_policy=shown_policy(policy_of(instance.attributes), instance.project_id),
        db_number=topology_of(instance.spec_code).databases,
        enterprise_project_name=instance.attributes.get("enterprise_project_name"),
        inquery_spec_code=instance.spec_code,
        security_group_name=instance.attributes.get("security_group_id"),
        **_shared(instance, used_memory),
    )


def _shared(instance: Instance, used_memory: int) -> dict[str, Any]:
    flavor = parse(instance.spec_code)
    attributes = instance.attributes
    whole, minor = _capacity(flavor)
    maintain_begin, maintain_end = times_of(instance)
    return {
        "instance_id": instance.id,
        "name": instance.name,
        "status": instance.status,
        "description": attributes.get("description", ""),
        "engine_version": instance.engine_version,
        "cache_mode": flavor.cache_mode,
        "spec_code": instance.spec_code,
        "capacity": whole,
        "capacity_minor": minor,
        "max_memory": flavor.capacity_mb,
        "used_memory": used_memory // MEGABYTE,
        "ip": instance.address,
        "port": instance.seed_port,
        "domain_name": instance.address,
        "no_password_access": "false" if instance.password else "true",
        "vpc_id": attributes.get("vpc_id", ""),
        "vpc_name": attributes.get("vpc_id", ""),
        "subnet_id": attributes.get("subnet_id", ""),
        "subnet_name": attributes.get("subnet_id", ""),
        "security_group_id": attributes.get("security_group_id"),
        "enterprise_project_id": attributes.get("enterprise_project_id"),
        "az_codes": attributes.get("az_codes", [ZONE]),
        "available_zones": attributes.get("az_codes", [ZONE]),
        "maintain_begin": maintain_begin,
        "maintain_end": maintain_end,
        "created_at": iso(instance.created_at),
        "launched_at": iso(instance.launched_at),
        "user_id": instance.user_id,
        "user_name": instance.user_name,
        "tags": attributes.get("tags", []),
        "cpu_type": flavor.cpu_type,
        "replica_count": flavor.copies,
        "sharding_count": flavor.shards,
        "features": Features(support_ssl=flavor.cache_mode != CLUSTER.cache_mode or instance.node_ca is not None),
        "enable_ssl": instance.server_certificate is not None,
        "error_code": instance.error_code,
    }


def _capacity(flavor: Flavor) -> tuple[int, str]:
    """Return whole GB, and the fraction as the cloud writes it: 0 and `.125`."""
    whole, remainder = divmod(flavor.capacity_mb, 1024)
    return whole, f"{remainder / 1024:g}"[1:] if remainder else ""
