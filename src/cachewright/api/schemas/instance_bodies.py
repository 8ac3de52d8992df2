"""Bodies of CreateInstance and ResizeInstance. Types follow the SDK's models."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec

from cachewright.api.schemas import forms
from cachewright.api.schemas.backup_policies import PolicyBody
from cachewright.model.tasks import DEFAULT_MODE, MigrationMode

MOST_TAGS = 20

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
OptionalText = Annotated[str, msgspec.Meta(max_length=128)] | None
NodeNames = Annotated[list[_Text], msgspec.Meta(max_length=1000)]
Name = Annotated[str, msgspec.Meta(pattern=forms.NAME)]
Description = Annotated[str, msgspec.Meta(max_length=1024)]


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
    """Body of CreateInstance. It includes fields of unsupported features, so that they are refused, not ignored.
    `backup_id` is an extension: the backup whose data the instance begins with."""

    name: Name
    engine: str
    engine_version: str | None = None
    capacity: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
    spec_code: str
    az_codes: Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=10)]
    vpc_id: _Text
    subnet_id: _Text
    security_group_id: OptionalText = None
    enterprise_project_id: OptionalText = None
    enterprise_project_name: OptionalText = None
    description: Description = ""
    instance_num: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    maintain_begin: str | None = None
    maintain_end: str | None = None
    password: str | None = None
    no_password_access: bool = False
    port: Annotated[int, msgspec.Meta(ge=1024, le=65535)] | None = None  # lower ports are reserved for the system
    tags: Annotated[list[Tag], msgspec.Meta(max_length=MOST_TAGS)] = []
    spec_param: SpecParam = SpecParam()
    bss_param: BssParam = BssParam()
    enable_ssl: bool = False
    enable_publicip: bool = False
    publicip_id: str | None = None
    private_ip: str | None = None
    access_user: str | None = None
    template_id: str | None = None
    backup_id: str | None = None
    rename_commands: dict[str, Any] = {}
    instance_backup_policy: PolicyBody | None = None


class ResizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """`migration_mode` is an extension: how slots move while clients use the instance."""

    spec_code: str
    new_capacity: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
    change_type: str = ""
    execute_immediately: bool = True
    reserved_ip: NodeNames = []
    node_list: NodeNames = []
    available_zones: Annotated[list[_Text], msgspec.Meta(max_length=10)] = []
    bss_param: dict[str, Any] = {}
    migration_mode: MigrationMode = DEFAULT_MODE


def capacity_mb(gigabytes: float) -> int | None:
    """Return the capacity in MB, or None if it is not a whole number."""
    megabytes = Decimal(str(gigabytes)) * 1024
    return int(megabytes) if megabytes == int(megabytes) else None
