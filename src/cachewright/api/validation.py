"""Validate request bodies and convert them to service requests: rules that concern several fields.

A field that is not supported is an error and never ignored. Rules that depend on stored instances are in `operations`.

Source: the reference of CreateInstance and ResizeInstance.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cachewright import errors, flavors
from cachewright.api import requests
from cachewright.api.access_validation import disabled_commands, first_password
from cachewright.api.backup_policies import policy_attribute
from cachewright.api.requests import refused
from cachewright.api.schemas.configurations import UpdateConfigBody
from cachewright.api.schemas.flavors import ZONE
from cachewright.api.schemas.instance_bodies import MOST_TAGS, CreateBody, ResizeBody, Tag, capacity_mb
from cachewright.api.schemas.instance_changes import TagsBody, UpdateBody, retagged
from cachewright.api.schemas.instances import InstancesQuery
from cachewright.api.texts import require_line, require_lines, require_tags
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.flavors import Flavor
from cachewright.model.backup_policies import policy_of
from cachewright.model.instances import Instance
from cachewright.operations.requests import CreateRequest, ResizeRequest
from cachewright.services.instance_attributes import AttributeChange
from cachewright.services.instance_queries import InstanceFilter
from cachewright.topologies import TOPOLOGIES
from cachewright.valkey.parameters import BY_ID, BY_NAME

_FULL_HOUR = re.compile(r"([01][0-9]|2[0-3]):00(:00)?")

_NOT_SERVED = {
    "enable_publicip": "public addresses are not served",
    "publicip_id": "public addresses are not served",
    "private_ip": "addresses cannot be chosen",
    "access_user": "it is for Memcached",
}
"""Fields of CreateInstance that must be empty or false, with the reason."""

_COMPARES_VERSIONS = "terraform-provider-huaweicloud"
"""Part of the name of a client that plans to replace an instance whose version is not the one of its request, even if
its request had none."""

_REPLAYED = (
    "description",
    "vpc_id",
    "subnet_id",
    "security_group_id",
    "enterprise_project_id",
    "enterprise_project_name",
    "az_codes",
    "maintain_begin",
    "maintain_end",
    "tags",
)
_LABELS = ("vpc_id", "subnet_id", "security_group_id", "enterprise_project_id", "enterprise_project_name")
_CHANGE_TYPES = ("createReplication", "deleteReplication", "addSharding", "instanceType")


def create_request(body: CreateBody, zones: Sequence[str], client: str = "") -> CreateRequest:
    """Return the service request. Raises ApiError with the code of the invalid field.

    :param zones: zones that exist.
    :param client: name of the client's program, from the header `User-Agent`.
    """
    flavor = _flavor(body)
    if body.engine.lower() != "redis":
        raise refused("engine", "it is not Redis")
    if not body.engine_version and _COMPARES_VERSIONS in client:
        raise refused("engine_version", "it is missing; terraform would replace the instance at its next apply")
    version = body.engine_version or flavors.DEFAULT_ENGINE_VERSION
    if version not in flavors.ENGINE_VERSIONS:
        raise refused("engine_version", f"it is not one of {', '.join(flavors.ENGINE_VERSIONS)}")
    for field, reason in _NOT_SERVED.items():
        if getattr(body, field):
            raise refused(field, reason)
    if body.bss_param.charging_mode not in {"", "postPaid"}:
        raise refused("bss_param.charging_mode", "only postPaid is served")
    _require_maintenance_window(body.maintain_begin, body.maintain_end)
    require_tags(body.tags)
    _require_different_keys(body.tags)
    _require_texts(body, zones)
    if body.instance_num > 1 and len(body.name) > 56:
        raise refused("name", "of several instances it has at most 56 characters")
    replayed = {field: msgspec.to_builtins(getattr(body, field)) for field in _REPLAYED}
    return CreateRequest(
        names=_names(body),
        flavor=flavor,
        engine_version=version,
        port=body.port,
        password=first_password(body),
        disabled_commands=disabled_commands(body.rename_commands) or (),
        attributes={field: value for field, value in replayed.items() if value}
        | policy_attribute(body.instance_backup_policy, None, now_ms()),
        template_id=body.template_id or None,
        enable_ssl=body.enable_ssl,
    )


def instance_filter(query: InstancesQuery) -> InstanceFilter:
    """Return the filter of ListInstances. Raises ApiError DCS.4061 for an invalid instance id."""
    flag = query.name_equal.lower()
    return InstanceFilter(
        instance_id=requests.instance_id(query.instance_id) if query.instance_id else None,
        name=query.name if flag in {"", "true", "false"} else query.name_equal,
        name_equal=flag not in {"", "false"},
        status=query.status,
        include_failed=query.include_failure.lower() == "true",
        address=query.ip,
        capacity_mb=None if query.capacity is None else capacity_mb(query.capacity) or 0,  # 0 matches no instance
        tags=frozenset(filter(None, query.tags.split(","))),
    )


def resize_request(body: ResizeBody, instance: Instance) -> ResizeRequest:
    """Return the service request. Raises ApiError with the code of the invalid field, or DCS.4102 for an unsupported
    kind of change."""
    if body.change_type and body.change_type not in _CHANGE_TYPES:
        raise refused("change_type", f"it is not one of {', '.join(_CHANGE_TYPES)}")
    capacity = capacity_mb(body.new_capacity)
    if capacity is None:
        raise refused("new_capacity", "it is not a whole number of MB")
    old, new = flavors.parse(instance.spec_code), _flavor_of(body.spec_code)
    _require_change_type(body.change_type, old, new)
    if body.available_zones and old.copies == new.copies:
        raise refused("available_zones", "the number of replicas does not change")
    for number, zone in enumerate(body.available_zones):
        require_line(f"available_zones[{number}]", zone)
        if zone not in (own := instance.attributes.get("az_codes", [ZONE])):
            raise refused("available_zones", f"the instance is not in zone {zone}, but in {', '.join(own)}")
    return ResizeRequest(
        spec_code=body.spec_code,
        capacity_mb=capacity,
        mode=body.migration_mode,
        reserved_ip=tuple(body.reserved_ip),
        node_list=tuple(body.node_list),
        in_window=not body.execute_immediately,
    )


def _require_change_type(change_type: str, old: Flavor, new: Flavor) -> None:
    """Raise ApiError DCS.4102 if the sizes do not differ as `change_type` says. An empty one fits every change."""
    fits = {
        "": True,
        "addSharding": new.shards > old.shards and new.cache_mode == old.cache_mode,
        "createReplication": new.copies > old.copies and new.cache_mode == old.cache_mode,
        "deleteReplication": new.copies < old.copies and new.cache_mode == old.cache_mode,
        "instanceType": new.cache_mode != old.cache_mode,
    }
    if not fits[change_type]:
        reason = f"{old.spec_code} to {new.spec_code} is no change_type {change_type}"
        raise ApiError(errors.UNSUPPORTED_RESIZE, reason=reason)


def attribute_change(body: UpdateBody, instance: Instance) -> AttributeChange:
    """ApiError with the code of the invalid field."""
    if body.port not in {None, instance.seed_port}:
        raise refused("port", "it cannot be changed")
    _require_maintenance_window(body.maintain_begin, body.maintain_end)
    require_lines("description", body.description)
    require_line("security_group_id", body.security_group_id)
    texts: dict[str, Any] = {field: getattr(body, field) for field in ("description", "security_group_id")}
    window = {"maintain_begin": body.maintain_begin or None, "maintain_end": body.maintain_end or None}
    changed = {field: value for field, value in (texts | window).items() if value is not None}
    changed |= policy_attribute(body.instance_backup_policy, policy_of(instance.attributes), now_ms())
    return AttributeChange(name=body.name, attributes=changed)


def parameter_values(body: UpdateConfigBody) -> dict[str, str]:
    """Return new values by parameter name. Raises ApiError DCS.4066 with the invalid parameter."""
    changed: dict[str, str] = {}
    for item in body.redis_config:
        parameter = BY_ID.get(item.param_id)
        if parameter is None or parameter.name != item.param_name:
            same_name = BY_NAME.get(item.param_name)
            reason = f"its param_id is {same_name.id}" if same_name else "there is no such parameter"
            raise ApiError(errors.INVALID_CONFIGURATION, parameter=item.param_name, reason=reason)
        if parameter.name in changed:
            raise ApiError(errors.INVALID_CONFIGURATION, parameter=parameter.name, reason="it is there twice")
        if fault := parameter.fault(item.param_value):
            raise ApiError(errors.INVALID_CONFIGURATION, parameter=parameter.name, reason=fault)
        changed[parameter.name] = item.param_value
    return changed


def require_zones(field: str, zones: Sequence[str], existing: Sequence[str]) -> None:
    """Raise ApiError DCS.4042 if a zone does not exist."""
    for number, zone in enumerate(zones):
        if zone not in existing:
            require_line(f"{field}[{number}]", zone)
            raise ApiError(errors.ZONE_NOT_FOUND, zone=zone, zones=", ".join(existing))


def template_values(given: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a template. Raises ApiError DCS.4066 with the invalid parameter."""
    for name, value in given.items():
        parameter = BY_NAME.get(name)
        if fault := parameter.fault(value) if parameter else "there is no such parameter":
            raise ApiError(errors.INVALID_CONFIGURATION, parameter=name, reason=fault)
    return dict(given)


def tagging(body: TagsBody, instance: Instance) -> AttributeChange:
    """Return the change of tags. Raises ApiError DCS.4062 if a key occurs twice, has invalid characters, or the
    instance would have too many tags. Every key can be deleted, because an older release accepted other characters."""
    _require_different_keys(body.tags)
    if body.action == "create":
        require_tags(body.tags)
    tags = retagged(instance, body)
    if len(tags) > MOST_TAGS:
        raise refused("tags", f"an instance has at most {MOST_TAGS}")
    return AttributeChange(attributes={"tags": tags})


def _flavor_of(spec_code: str) -> Flavor:
    try:
        return flavors.parse(spec_code)
    except flavors.UnknownFlavor as unknown:
        raise refused("spec_code", str(unknown)) from unknown


def _flavor(body: CreateBody) -> Flavor:
    flavor = _flavor_of(body.spec_code)
    if flavor.cache_mode not in TOPOLOGIES:
        served = ", ".join(TOPOLOGIES)
        raise ApiError(
            errors.INVALID_INSTANCE_TYPE, reason=f"spec_code: {flavor.cache_mode} is not served, {served} are"
        )
    if flavor.cpu_type != flavors.machine_cpu_type():
        reason = f"{flavor.spec_code} is for {flavor.cpu_type}, this host is {flavors.machine_cpu_type()}"
        raise refused("spec_code", reason)
    if capacity_mb(body.capacity) != flavor.capacity_mb:
        raise refused("capacity", f"{flavor.spec_code} has {flavor.capacity_gb} GB")
    stands_for: dict[str, Any] = {
        "sharding_count": flavor.shards,
        "replica_count": flavor.copies,
        "cache_mode": flavor.cache_mode,
    }
    for field, value in stands_for.items():
        if getattr(body.spec_param, field) not in {None, value}:
            raise refused(f"spec_param.{field}", f"{flavor.spec_code} stands for {value}")
    return flavor


def _require_maintenance_window(begin: str | None, end: str | None) -> None:
    for field, hour, other in (("maintain_begin", begin, end), ("maintain_end", end, begin)):
        if other and not hour:
            raise refused(field, "it is missing, though the other is there")
        if hour and not _FULL_HOUR.fullmatch(hour):
            raise refused(field, "it is not a full hour, HH:00:00")
    if begin and end and begin[:2] == end[:2]:
        raise refused("maintain_end", "it is maintain_begin")


def _require_different_keys(tags: Sequence[Tag]) -> None:
    if len({tag.key for tag in tags}) < len(tags):
        raise refused("tags", "a key is there twice")


def _require_texts(body: CreateBody, zones: Sequence[str]) -> None:
    require_lines("description", body.description)
    for field in _LABELS:
        require_line(field, getattr(body, field))
    require_zones("az_codes", body.az_codes, zones)


def _names(body: CreateBody) -> tuple[str, ...]:
    if body.instance_num == 1:
        return (body.name,)
    return tuple(f"{body.name}-{number:03}" for number in range(body.instance_num))
