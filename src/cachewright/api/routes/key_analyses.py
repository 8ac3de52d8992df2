"""Analyses for big and for hot keys, by request and by a schedule."""

import msgspec
from litestar import Response, delete, get, post, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Analyses,
    AnalysisId,
    Attributes,
    Body,
    Call,
    InstanceId,
    Instances,
    Query,
    endpoint,
)
from cachewright.api.schemas import key_analyses as schemas
from cachewright.clock import now_ms
from cachewright.model.key_analyses import Subject
from cachewright.model.scan_schedules import daily_attribute
from cachewright.services.instance_attributes import AttributeChange

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_READ, _CHANGE = needs("dcs:instance:getConfiguration"), needs("dcs:instance:modifyConfigureation")
_LIST, _START, _SHOW = needs("dcs:instance:get"), needs("dcs:instance:modify"), needs("dcs:instance:diagnose")


@get(_INSTANCES + "/bigkey/autoscan", opt=_READ)
@endpoint
def show_bigkey_autoscan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.AutoScan]:
    """ShowBigkeyAutoscanConfig: the times of day at which the instance is analysed."""
    return responses.json(schemas.auto_scan(instances.get(requests.principal(request), instance_id), "big"))


@put(_INSTANCES + "/bigkey/autoscan", status_code=200, opt=_CHANGE)
@endpoint
def update_bigkey_autoscan_config(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.AutoScanBody],
) -> Response[schemas.AutoScan]:
    """UpdateBigkeyAutoscanConfig: sets the times of day. An analysis is a background task."""
    principal = requests.principal(request)
    attributes.change(principal, instance_id, lambda _: _schedule(body.read(), "big"))
    return responses.json(schemas.auto_scan(instances.get(principal, instance_id), "big"))


@post(_INSTANCES + "/bigkey-task", status_code=200, opt=_START)
@endpoint
def create_bigkey_scan_task(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId
) -> Response[schemas.BigKeyAnalysis]:
    """CreateBigkeyScanTask: starts a background task that finds the biggest values, or returns the one that runs."""
    principal = requests.principal(request)
    record = analyses.start(principal, instance_id, "big")
    return responses.json(schemas.big_keys(instances.get(principal, instance_id), record))


@get(_INSTANCES + "/bigkey-tasks", opt=_LIST)
@endpoint
def list_bigkey_scan_tasks(
    request: Call, analyses: Analyses, instance_id: InstanceId, wanted: Query[schemas.AnalysisQuery]
) -> Response[schemas.AnalysisList]:
    """ListBigkeyScanTasks: analyses for big keys, newest first, without the keys."""
    records = analyses.list(requests.principal(request), instance_id, "big")
    return responses.json(schemas.analysis_list(instance_id, records, wanted.read()))


@get(_INSTANCES + "/bigkey-task/{bigkey_id:str}", opt=_SHOW)
@endpoint
def show_bigkey_scan_task_details(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId, bigkey_id: AnalysisId
) -> Response[schemas.BigKeyAnalysis]:
    """ShowBigkeyScanTaskDetails: an analysis with the keys that it has found."""
    principal = requests.principal(request)
    record = analyses.show(principal, instance_id, "big", bigkey_id)
    return responses.json(schemas.big_keys(instances.get(principal, instance_id), record))


@delete(_INSTANCES + "/bigkey-task/{bigkey_id:str}", status_code=200, opt=_START)
@endpoint
def delete_bigkey_scan_task(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId, bigkey_id: AnalysisId
) -> Response[schemas.BigKeyAnalysis]:
    """DeleteBigkeyScanTask: deletes the result of an analysis that has ended."""
    principal = requests.principal(request)
    instance = instances.get(principal, instance_id)
    return responses.json(schemas.big_keys(instance, analyses.delete(principal, instance_id, "big", bigkey_id)))


@get(_INSTANCES + "/hotkey/autoscan", opt=_READ)
@endpoint
def show_hotkey_autoscan_config(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.AutoScan]:
    """ShowHotkeyAutoscanConfig: the times of day at which the instance is analysed."""
    return responses.json(schemas.auto_scan(instances.get(requests.principal(request), instance_id), "hot"))


@put(_INSTANCES + "/hotkey/autoscan", status_code=200, opt=_CHANGE)
@endpoint
def update_hotkey_auto_scan_config(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.AutoScanBody],
) -> Response[schemas.AutoScan]:
    """UpdateHotkeyAutoScanConfig: sets the times of day. Nothing begins while `maxmemory-policy` is not LFU."""
    principal = requests.principal(request)
    attributes.change(principal, instance_id, lambda _: _schedule(body.read(), "hot"))
    return responses.json(schemas.auto_scan(instances.get(principal, instance_id), "hot"))


@post(_INSTANCES + "/hotkey-task", status_code=200, opt=_START)
@endpoint
def create_hotkey_scan_task(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId
) -> Response[schemas.HotKeyAnalysis]:
    """CreateHotkeyScanTask: starts a background task that finds the most used keys, or returns the one that runs."""
    principal = requests.principal(request)
    record = analyses.start(principal, instance_id, "hot")
    return responses.json(schemas.hot_keys(instances.get(principal, instance_id), record))


@get(_INSTANCES + "/hotkey-tasks", opt=_LIST)
@endpoint
def list_hot_key_scan_tasks(
    request: Call, analyses: Analyses, instance_id: InstanceId, wanted: Query[schemas.AnalysisQuery]
) -> Response[schemas.AnalysisList]:
    """ListHotKeyScanTasks: analyses for hot keys, newest first, without the keys."""
    records = analyses.list(requests.principal(request), instance_id, "hot")
    return responses.json(schemas.analysis_list(instance_id, records, wanted.read()))


@get(_INSTANCES + "/hotkey-task/{hotkey_id:str}", opt=_SHOW)
@endpoint
def show_hotkey_task_details(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId, hotkey_id: AnalysisId
) -> Response[schemas.HotKeyAnalysis]:
    """ShowHotkeyTaskDetails: an analysis with the keys that it has found."""
    principal = requests.principal(request)
    record = analyses.show(principal, instance_id, "hot", hotkey_id)
    return responses.json(schemas.hot_keys(instances.get(principal, instance_id), record))


@delete(_INSTANCES + "/hotkey-task/{hotkey_id:str}", status_code=200, opt=_START)
@endpoint
def delete_hotkey_scan_task(
    request: Call, analyses: Analyses, instances: Instances, instance_id: InstanceId, hotkey_id: AnalysisId
) -> Response[schemas.HotKeyAnalysis]:
    """DeleteHotkeyScanTask: deletes the result of an analysis that has ended."""
    principal = requests.principal(request)
    instance = instances.get(principal, instance_id)
    return responses.json(schemas.hot_keys(instance, analyses.delete(principal, instance_id, "hot", hotkey_id)))


def _schedule(wanted: schemas.AutoScanBody, subject: Subject) -> AttributeChange:
    """Return the change that stores a schedule. Raises ApiError DCS.4062 if it is on and names no time."""
    if wanted.enable_auto_scan and not wanted.schedule_at:
        raise requests.refused("schedule_at", "it names no time of day")
    schedule = msgspec.to_builtins(schemas.daily_schedule(wanted, now_ms()))
    return AttributeChange(attributes={daily_attribute(subject): schedule})
