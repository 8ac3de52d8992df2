"""Shapes of analyses for big and hot keys, and of their schedules. Types follow the SDK's models."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas import forms, iso
from cachewright.api.schemas.key_scans import STATUS, ScanStatus
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.flavors import parse
from cachewright.model.instances import Instance
from cachewright.model.key_analyses import FoundKey, Subject
from cachewright.model.scan_schedules import DailySchedule, ScanType, daily_schedule_of
from cachewright.services.key_analyses import AnalysisRecord

_Time = Annotated[str, msgspec.Meta(pattern=forms.HOUR_AND_MINUTE)]

Unit = Literal["byte", "count"]


class AutoScanBody(msgspec.Struct, frozen=True):
    """:ivar schedule_at: times of day, `HH:MM`, UTC."""

    enable_auto_scan: bool
    schedule_at: Annotated[list[_Time], msgspec.Meta(max_length=24)] = []


class AutoScan(msgspec.Struct, frozen=True, kw_only=True):
    """The times of day at which an instance is analysed."""

    instance_id: str
    enable_auto_scan: bool
    schedule_at: Sequence[str]
    updated_at: str | None


class BigKey(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar size: in `unit`: bytes of a string, else number of elements.
    :ivar shard: address of the primary of its shard; null if the instance is no cluster.
    """

    name: str
    type: str
    shard: str | None
    db: int
    size: int
    unit: Unit


class HotKey(BigKey, frozen=True, kw_only=True):
    """:ivar freq: logarithmic counter of its use, at most 255."""

    freq: int


class AnalysisQuery(msgspec.Struct, frozen=True):
    offset: Offset = 0
    limit: Limit = 10
    status: ScanStatus | None = None


class AnalysisSummary(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: ScanStatus
    scan_type: ScanType
    created_at: str | None
    started_at: str | None
    finished_at: str | None


class AnalysisList(msgspec.Struct, frozen=True):
    """:ivar count: number of all analyses, not only of this page."""

    instance_id: str
    count: int
    records: list[AnalysisSummary]


class BigKeyAnalysis(AnalysisSummary, frozen=True, kw_only=True):
    """An analysis for big keys with those found so far."""

    instance_id: str
    num: int
    keys: list[BigKey]


class HotKeyAnalysis(AnalysisSummary, frozen=True, kw_only=True):
    """An analysis for hot keys with those found so far."""

    instance_id: str
    num: int
    keys: list[HotKey]


def auto_scan(instance: Instance, subject: Subject) -> AutoScan:
    stored = daily_schedule_of(instance.attributes, subject)
    return AutoScan(
        instance_id=instance.id,
        enable_auto_scan=stored.enable_auto_scan,
        schedule_at=stored.schedule_at,
        updated_at=iso(stored.updated_at),
    )


def daily_schedule(body: AutoScanBody, now: int) -> DailySchedule:
    return DailySchedule(enable_auto_scan=body.enable_auto_scan, schedule_at=tuple(body.schedule_at), updated_at=now)


def analysis_list(instance_id: str, records: Sequence[AnalysisRecord], query: AnalysisQuery) -> AnalysisList:
    """Return a page of the analyses in the status of the query."""
    chosen = [record for record in records if query.status in {None, STATUS[record.task.status]}]
    page = chosen[query.offset : query.offset + query.limit]
    return AnalysisList(instance_id, len(chosen), [AnalysisSummary(**_summary(record)) for record in page])


def big_keys(instance: Instance, record: AnalysisRecord) -> BigKeyAnalysis:
    keys = [BigKey(**_key(instance, key)) for key in record.analysis.found]
    return BigKeyAnalysis(**_summary(record), instance_id=instance.id, num=len(keys), keys=keys)


def hot_keys(instance: Instance, record: AnalysisRecord) -> HotKeyAnalysis:
    keys = [HotKey(**_key(instance, key), freq=key.frequency or 0) for key in record.analysis.found]
    return HotKeyAnalysis(**_summary(record), instance_id=instance.id, num=len(keys), keys=keys)


def _summary(record: AnalysisRecord) -> Mapping[str, Any]:
    task = record.task
    return {
        "id": task.id,
        "status": STATUS[task.status],
        "scan_type": record.params.scan_type,
        "created_at": iso(task.created_at),
        "started_at": iso(task.begin_time),
        "finished_at": iso(task.end_time),
    }


def _key(instance: Instance, key: FoundKey) -> Mapping[str, Any]:
    return {
        "name": key.name,
        "type": key.type,
        "shard": key.address if parse(instance.spec_code).cache_mode == "cluster" else None,
        "db": key.database,
        "size": key.size,
        "unit": "byte" if key.type == "string" else "count",
    }
