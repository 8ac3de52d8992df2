"""Scans for expired keys, by request and by a schedule."""

import msgspec
from litestar import Response, get, post, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Attributes,
    Body,
    Call,
    InstanceId,
    Instances,
    Query,
    Records,
    Tasks,
    endpoint,
)
from cachewright.api.schemas import key_scans as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.clock import now_ms
from cachewright.model import scan_schedules
from cachewright.model.instances import Instance
from cachewright.operations.scan_expired import SCAN_EXPIRED, ScanParams
from cachewright.services.instance_attributes import AttributeChange

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_SCAN = needs("dcs:instance:modify")
_READ, _CHANGE = needs("dcs:instance:getConfiguration"), needs("dcs:instance:modifyConfigureation")


@get(_INSTANCES + "/scan-expire-keys/autoscan-config", opt=_READ)
@endpoint
def show_expire_auto_scan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.ExpiryScan]:
    """ShowExpireAutoScanConfig: the schedule of scans for expired keys."""
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
    """UpdateExpireAutoScanConfig: sets the schedule. A scan is a background task."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    wanted = body.read()

    def change(instance: Instance) -> AttributeChange:
        schedule = schemas.expiry_schedule(wanted, instance, now_ms())
        return AttributeChange(attributes={scan_schedules.ATTRIBUTE: msgspec.to_builtins(schedule)})

    attributes.change(principal, instance_id, change)
    return responses.json(schemas.expiry_scan(instances.get(principal, instance_id)))


@post(_INSTANCES + "/scan-expire-keys-task", status_code=200, opt=_SCAN)
@endpoint
def create_auto_expire_scan_task(request: Call, tasks: Tasks, instance_id: InstanceId) -> Response[schemas.ScanRecord]:
    """CreateAutoExpireScanTask: starts a background task that deletes expired keys, or returns the one that runs."""
    task = tasks.submit(SCAN_EXPIRED, requests.principal(request), instance_id, ScanParams())
    return responses.json(schemas.scan_record(task))


@post(_INSTANCES + "/auto-expire/scan", status_code=200, opt=_SCAN)
@endpoint
def scan_expire_key(request: Call, tasks: Tasks, instance_id: InstanceId) -> Response[schemas.ScanRecord]:
    """ScanExpireKey: same as CreateAutoExpireScanTask."""
    task = tasks.submit(SCAN_EXPIRED, requests.principal(request), instance_id, ScanParams())
    return responses.json(schemas.scan_record(task))


@get(_INSTANCES + "/auto-expire/histories", opt=needs("dcs:instance:get"))
@endpoint
def show_expire_key_scan_info(
    request: Call, records: Records, instance_id: InstanceId, wanted: Query[PageQuery]
) -> Response[schemas.ScanRecords]:
    """ShowExpireKeyScanInfo: scans for expired keys, newest first."""
    query = wanted.read()
    total, page = records.expiry_scans(requests.principal(request), instance_id, offset=query.offset, limit=query.limit)
    shown = [schemas.scan_record(task) for task in page]
    return responses.json(schemas.ScanRecords(instance_id, total, len(shown), shown))
