"""An instance as it is now, and its last hour: of an instance whose nodes do not run, and who may see it."""

import uuid
from collections.abc import Callable

import msgspec
from tenants import Tenant

from cachewright.model.incidents import Incident
from cachewright.monitoring.node_stats import InstanceSample
from cachewright.store import incidents


def sample(at: int, **known: float) -> InstanceSample:
    numbers = dict.fromkeys(InstanceSample.__struct_fields__, 0) | known | {"at": at}
    return InstanceSample(**numbers)  # type: ignore[arg-type]  # whole numbers where they are wanted


def test_nodes_that_do_not_answer_are_told_as_such(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    live = tenant.call("GET", f"instances/{instance_id}/state").json
    assert (live["status"], live["cluster_state"], live["task"], live["moving"]) == ("RUNNING", None, None, [])
    assert [shard["group_name"] for shard in live["shards"]] == ["group-0", "group-1", "group-2"]
    for shard in live["shards"]:
        assert (shard["slots"], shard["slot_count"]) == ([], 0)
        (node,) = shard["nodes"]
        assert (node["role"], node["status"], node["keys"], node["used_memory"]) == ("primary", "Inactive", None, None)
        assert node["max_memory"] == 1024**3


def test_open_incidents_are_listed_and_those_that_ended_are_not(tenant: Tenant) -> None:
    instance_id, other_id = tenant.instance(), tenant.instance()
    with tenant.site.database.write() as connection:
        for number, (of, ended_at) in enumerate(((instance_id, None), (instance_id, 5), (other_id, None))):
            incident = Incident(
                id=str(number),
                instance_id=of,
                project_id=tenant.project_id,
                kind="unequal_nodes",
                error_code="DCS.9013",
                detail=f"fault {number}",
                began_at=1_700_000_000_000,
            )
            incidents.begin(connection, incident)
            if ended_at:
                incidents.end(connection, msgspec.structs.replace(incident, ended_at=1_700_000_000_000 + ended_at))
    shown = tenant.call("GET", f"instances/{instance_id}/state").json
    assert [(one["kind"], one["error_code"], one["detail"]) for one in shown["incidents"]] == [
        ("unequal_nodes", "DCS.9013", "fault 0")
    ]
    assert shown["status"] == "RUNNING"


def test_groups_have_the_ids_that_they_have_elsewhere(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    groups = tenant.call("GET", f"instance/{instance_id}/groups").json["group_list"]
    live = tenant.call("GET", f"instances/{instance_id}/state").json
    assert [shard["group_id"] for shard in live["shards"]] == [group["group_id"] for group in groups]


def test_the_task_that_runs_is_named(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    tenant.add_task(instance_id, status="WAITING")
    task = tenant.add_task(instance_id, percent=40, remaining_seconds=2.5)
    told = tenant.call("GET", f"instances/{instance_id}/state").json["task"]
    assert told == {
        "task_id": task.id,
        "name": "EXTEND",
        "status": "EXECUTING",
        "progress": 40,
        "remain_time": 3,
    }


def test_samples_are_told_oldest_first(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    assert tenant.call("GET", f"instances/{instance_id}/statistics").json == {"instance_id": instance_id, "samples": []}
    for second in (1, 6):
        tenant.site.statistics.record(instance_id, sample(second * 1000, used_memory=second, input_kbps=0.5))
    told = tenant.call("GET", f"instances/{instance_id}/statistics").json["samples"]
    assert [(one["at"], one["used_memory"], one["input_kbps"]) for one in told] == [
        ("1970-01-01T00:00:01.000Z", 1, 0.5),
        ("1970-01-01T00:00:06.000Z", 6, 0.5),
    ]


def test_nobody_sees_anothers(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    instance_id, other = tenant.instance(), new_tenant()
    assert tenant.call("GET", f"instances/{instance_id}/state").status == 200
    for what in ("state", "statistics"):
        assert other.call("GET", f"instances/{instance_id}/{what}").refusal == (404, "DCS.3022")
        assert tenant.call("GET", f"instances/{uuid.uuid4()}/{what}").refusal == (404, "DCS.3022")
        assert tenant.call("GET", f"instances/x/{what}").refusal == (400, "DCS.4061")
    stream = {"accept": "text/event-stream"}
    assert other.call("GET", f"instances/{instance_id}/state", headers=stream).refusal == (404, "DCS.3022")
