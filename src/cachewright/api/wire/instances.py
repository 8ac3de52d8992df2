"""Instances: CreateInstance, ListInstances, ShowInstance, ResizeInstance. Types follow the SDK's models."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec

from cachewright.api.wire import iso
from cachewright.api.wire.flavors import ZONE
from cachewright.config import Settings
from cachewright.flavors import Flavor, parse
from cachewright.store.records import Instance, Task

_MEGABYTE = 1024 * 1024
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Tag(msgspec.Struct, frozen=True):
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
    value: Annotated[str, msgspec.Meta(max_length=43)] = ""


class SpecParam(msgspec.Struct, frozen=True):
    sharding_count: int | None = None
    replica_count: int | None = None
    cache_mode: str | None = None


class BssParam(msgspec.Struct, frozen=True):
    charging_mode: str = "postPaid"


class CreateBody(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that are listed for being refused: what they ask for is not served, and must not be ignored."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{3,63}$")]
    engine: str
    engine_version: str | None = None
    capacity: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
    spec_code: str
    az_codes: Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=10)]
    vpc_id: _Text
    subnet_id: _Text
    security_group_id: str | None = None
    enterprise_project_id: str | None = None
    enterprise_project_name: str | None = None
    description: str = ""
    instance_num: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    maintain_begin: str | None = None
    maintain_end: str | None = None
    password: str | None = None
    no_password_access: bool = False
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    tags: Annotated[list[Tag], msgspec.Meta(max_length=20)] = []
    spec_param: SpecParam = SpecParam()
    bss_param: BssParam = BssParam()
    enable_ssl: bool = False
    enable_publicip: bool = False
    publicip_id: str | None = None
    private_ip: str | None = None
    access_user: str | None = None
    template_id: str | None = None
    rename_commands: dict[str, Any] = {}
    instance_backup_policy: dict[str, Any] = {}


class Created(msgspec.Struct, frozen=True):
    instance_id: str
    instance_name: str


class CreatedList(msgspec.Struct, frozen=True):
    instances: list[Created]


class ResizeBody(msgspec.Struct, frozen=True, kw_only=True):
    spec_code: str
    new_capacity: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
    change_type: str = ""
    execute_immediately: bool = True
    reserved_ip: list[str] = []
    node_list: list[str] = []
    available_zones: list[str] = []
    bss_param: dict[str, Any] = {}


class InstancesQuery(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str | None = None
    name: str | None = None
    name_equal: bool = False
    status: str | None = None
    include_failure: bool = True
    include_delete: bool = False
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    tags: str | None = None
    ip: str | None = None


class Features(msgspec.Struct, frozen=True):
    support_acl: bool = False
    support_transparent_client_ip: bool = False
    support_ssl: bool = False
    support_audit_log: bool = False


class InstanceItem(msgspec.Struct, frozen=True, kw_only=True):
    """What the list and the single view share."""

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
    maintain_begin: str | None
    maintain_end: str | None
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
    product_type: str = "generic"
    storage_type: str = "DRAM"
    db_number: int = 1
    support_slow_log_flag: str = "yes"
    transparent_client_ip_enable: bool = False
    error_code: str | None = None


class ListedInstance(InstanceItem, frozen=True, kw_only=True):
    updated_at: str | None


class ShownInstance(InstanceItem, frozen=True, kw_only=True):
    """`task` is not in the reference: the name of what runs on the instance, null when nothing does."""

    update_at: str | None
    task: str | None


class InstanceList(msgspec.Struct, frozen=True):
    instance_num: int
    instances: list[ListedInstance]


def capacity_mb(gigabytes: float) -> int | None:
    """None where that is no whole number of MB."""
    megabytes = Decimal(str(gigabytes)) * 1024
    return int(megabytes) if megabytes == int(megabytes) else None


def listed(instance: Instance, used_memory: int, settings: Settings) -> ListedInstance:
    return ListedInstance(updated_at=iso(instance.updated_at), **_shared(instance, used_memory, settings))


def shown(instance: Instance, used_memory: int, settings: Settings, unfinished: list[Task]) -> ShownInstance:
    task = unfinished[0].name if unfinished else None
    return ShownInstance(update_at=iso(instance.updated_at), task=task, **_shared(instance, used_memory, settings))


def _shared(instance: Instance, used_memory: int, settings: Settings) -> dict[str, Any]:
    flavor = parse(instance.spec_code)
    said = instance.attributes
    whole, minor = _capacity(flavor)
    return {
        "instance_id": instance.id,
        "name": instance.name,
        "status": instance.status,
        "description": said.get("description", ""),
        "engine_version": instance.engine_version,
        "cache_mode": flavor.cache_mode,
        "spec_code": instance.spec_code,
        "capacity": whole,
        "capacity_minor": minor,
        "max_memory": flavor.capacity_mb,
        "used_memory": used_memory // _MEGABYTE,
        "ip": settings.node_host,
        "port": instance.seed_port,
        "domain_name": settings.node_host,
        "no_password_access": "false" if instance.password else "true",
        "vpc_id": said.get("vpc_id", ""),
        "vpc_name": said.get("vpc_id", ""),
        "subnet_id": said.get("subnet_id", ""),
        "subnet_name": said.get("subnet_id", ""),
        "security_group_id": said.get("security_group_id"),
        "enterprise_project_id": said.get("enterprise_project_id"),
        "az_codes": said.get("az_codes", [ZONE]),
        "available_zones": said.get("az_codes", [ZONE]),
        "maintain_begin": said.get("maintain_begin"),
        "maintain_end": said.get("maintain_end"),
        "created_at": iso(instance.created_at),
        "launched_at": iso(instance.launched_at),
        "user_id": instance.user_id,
        "user_name": instance.user_name,
        "tags": said.get("tags", []),
        "cpu_type": flavor.cpu_type,
        "replica_count": flavor.copies,
        "sharding_count": flavor.shards,
        "error_code": instance.error_code,
    }


def _capacity(flavor: Flavor) -> tuple[int, str]:
    """Whole GB, and the fraction as the cloud writes it: 0 and `.125`."""
    whole, rest = divmod(flavor.capacity_mb, 1024)
    return whole, f"{rest / 1024:g}"[1:] if rest else ""
