"""Automatic scans of keys. They are off, and stay off: a request to enable one is refused."""

from collections.abc import Mapping
from typing import Any

from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Attributes, Body, Call, InstanceId, Instances, endpoint
from cachewright.api.schemas import key_scans as schemas
from cachewright.clock import now_ms
from cachewright.services.instance_attributes import AttributeChange

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_READ, _CHANGE = needs("dcs:instance:getConfiguration"), needs("dcs:instance:modifyConfigureation")


@get(_INSTANCES + "/bigkey/autoscan", opt=_READ)
@endpoint
def show_bigkey_autoscan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.AutoScan]:
    """ShowBigkeyAutoscanConfig: always off."""
    instance = instances.get(requests.principal(request), instance_id)
    return responses.json(schemas.auto_scan(instance, "bigkey"))


@put(_INSTANCES + "/bigkey/autoscan", status_code=200, opt=_CHANGE)
@endpoint
def update_bigkey_autoscan_config(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.AutoScanBody],
) -> Response[schemas.AutoScan]:
    """UpdateBigkeyAutoscanConfig: stores a schedule. The scan stays off."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    change = _schedule_of(body.read(), "bigkey")
    attributes.change(principal, instance_id, lambda _: change)
    return responses.json(schemas.auto_scan(instances.get(principal, instance_id), "bigkey"))


@get(_INSTANCES + "/hotkey/autoscan", opt=_READ)
@endpoint
def show_hotkey_autoscan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.AutoScan]:
    """ShowHotkeyAutoscanConfig: always off."""
    instance = instances.get(requests.principal(request), instance_id)
    return responses.json(schemas.auto_scan(instance, "hotkey"))


@put(_INSTANCES + "/hotkey/autoscan", status_code=200, opt=_CHANGE)
@endpoint
def update_hotkey_auto_scan_config(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.AutoScanBody],
) -> Response[schemas.AutoScan]:
    """UpdateHotkeyAutoScanConfig: stores a schedule. The scan stays off."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    change = _schedule_of(body.read(), "hotkey")
    attributes.change(principal, instance_id, lambda _: change)
    return responses.json(schemas.auto_scan(instances.get(principal, instance_id), "hotkey"))


@get(_INSTANCES + "/scan-expire-keys/autoscan-config", opt=_READ)
@endpoint
def show_expire_auto_scan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.ExpiryScan]:
    """ShowExpireAutoScanConfig: always off."""
    return responses.json(schemas.expiry_scan(instances.get(requests.principal(request), instance_id)))


@put(_INSTANCES + "/scan-expire-keys/autoscan-config", status_code=200, opt=_CHANGE)
@endpoint
def update_expire_auto_scan_config(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.ExpiryScanBody],
) -> Response[schemas.ExpiryScan]:
    """UpdateExpireAutoScanConfig: stores a schedule. The scan stays off."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    wanted = body.read()
    _require_off(wanted.enable_auto_scan)
    names = ("first_scan_at", "interval", "timeout", "scan_keys_count")
    given = {name: value for name in names if (value := getattr(wanted, name)) is not None}
    change = _schedule(schemas.EXPIRY_SCHEDULE, given)
    attributes.change(principal, instance_id, lambda _: change)
    return responses.json(schemas.expiry_scan(instances.get(principal, instance_id)))


def _schedule_of(wanted: schemas.AutoScanBody, subject: schemas.Subject) -> AttributeChange:
    _require_off(wanted.enable_auto_scan)
    return _schedule(schemas.schedule_name(subject), {"schedule_at": wanted.schedule_at})


def _require_off(enabled: bool) -> None:
    if enabled:
        raise requests.refused("enable_auto_scan", "keys are not scanned; only false is accepted")


def _schedule(attribute: str, given: Mapping[str, Any]) -> AttributeChange:
    return AttributeChange(attributes={attribute: {**given, "updated_at": now_ms()}})
