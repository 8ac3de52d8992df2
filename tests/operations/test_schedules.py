"""Scans and analyses by a schedule: each time of the schedule starts one task, whatever becomes of its record."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_admission import new_services, running

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.monitoring.scheduled_scans import ScheduledScans
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.store.opening import open_database

HALF_A_DAY_AGO = datetime.now(UTC) - timedelta(hours=12)
DAILY = {"enable_auto_scan": True, "schedule_at": [f"{HALF_A_DAY_AGO:%H:%M}"], "updated_at": 1}
EXPIRY = {"enable_auto_scan": True, "first_scan_at": f"{HALF_A_DAY_AGO:%Y-%m-%dT%H:%M:%SZ}", "interval": 86400}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(Settings(data_dir=tmp_path))) as made:
        yield made


@pytest.mark.parametrize(("attribute", "schedule"), [("bigkey_schedule", DAILY), ("expiry_schedule", EXPIRY)])
def test_a_task_whose_record_is_deleted_is_not_started_again(
    tmp_path: Path, database: Database, attribute: str, schedule: dict[str, Any]
) -> None:
    services = new_services(tmp_path, database, memory_overcommit=1000)
    here = running(services, 1)
    scans = ScheduledScans(database, services.tasks.submit_scheduled, LoopHeartbeats())
    with database.write() as connection:
        instances.change(connection, here, attributes={attribute: schedule})
    scans.start_due()
    with database.write() as connection:
        (task,) = tasks.unfinished_of(connection, here)
        assert task.params["scan_type"] == "auto"
        tasks.remove(connection, task)
    scans.start_due()
    with database.read() as connection:
        assert tasks.unfinished_of(connection, here) == []
        (instance,) = instances.every(connection)
    started_at = instance.attributes[attribute]["started_at"]
    assert instance.attributes == {attribute: schedule | {"started_at": started_at}}
