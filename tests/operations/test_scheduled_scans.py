"""Scans for expired keys on a real instance: at once and by a schedule."""

from datetime import UTC, datetime, timedelta
from typing import Any

from test_single import connected, created_single

from sdk_calls import ended, progress
from serving import Server, until

KEYS = 3_000
BINARY = b"\xff\xfe\x00"


def records(server: Server, instance_id: str) -> list[dict[str, Any]]:
    status, answer = server.call("GET", f"instances/{instance_id}/auto-expire/histories")
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["records"]
    return found


def test_an_instance_is_scanned_at_once_and_by_a_schedule(server: Server, client: Any) -> None:
    instance_id = created_single(client)
    cache = connected(client, instance_id)
    for database in (0, 3):
        cache.execute_command("SELECT", database)
        pipeline = cache.pipeline()
        pipeline.mset({f"stays:{number}": "value" for number in range(KEYS)})
        pipeline.set(BINARY, "value")
        pipeline.set("ends", "value", px=1)
        pipeline.execute()
    status, record = server.call("POST", f"instances/{instance_id}/auto-expire/scan")
    assert (status, record["scan_type"]) == (200, "manual")
    assert ended(client, instance_id, record["id"]).status == "SUCCESS"
    (scanned,) = records(server, instance_id)
    assert (scanned["id"], scanned["status"]) == (record["id"], "success")
    (step,) = progress(client, instance_id, record["id"]).step_details
    (sub_step,) = step.sub_step_details
    assert f"keys_scanned:{2 * (KEYS + 1)}," in sub_step.detail
    for database in (0, 3):
        cache.execute_command("SELECT", database)
        assert cache.dbsize() == KEYS + 1

    first = datetime.now(UTC) + timedelta(seconds=2)
    schedule = {
        "enable_auto_scan": True,
        "first_scan_at": f"{first:%Y-%m-%dT%H:%M:%S}Z",
        "interval": 86400,
        "timeout": 60,
        "scan_keys_count": 1000,
    }
    status, _ = server.call("PUT", f"instances/{instance_id}/scan-expire-keys/autoscan-config", schedule)
    assert status == 200
    until(lambda: [one["scan_type"] for one in records(server, instance_id)] == ["auto", "manual"], "nothing began")
    assert ended(client, instance_id, records(server, instance_id)[0]["id"]).status == "SUCCESS"
