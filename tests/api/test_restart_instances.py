"""RestartOrFlushInstances over HTTP: permissions and rejections."""

import uuid

import pytest
from tenants import Tenant

from cachewright.store import tasks


def test_each_instance_has_its_own_result(tenant: Tenant) -> None:
    here, gone = tenant.instance(), str(uuid.uuid4())
    body = {"instances": [here, gone, here.upper()], "action": "restart"}
    answer = tenant.call("PUT", "instances/status", body)
    assert answer.status == 200
    assert answer.json == {
        "results": [
            {"result": "success", "instance": here},
            {
                "result": "failed",
                "instance": gone,
                "error_code": "DCS.3022",
                "error_msg": "The instance does not exist.",
            },
        ],
    }
    assert tenant.stored(here).status == "RESTARTING"
    with tenant.site.database.read() as connection:
        (task,) = tasks.unfinished_of(connection, here)
    assert (task.kind, task.name, task.status) == ("restart", "RestartInstance", "WAITING")


def test_one_that_is_busy_is_not_restarted(tenant: Tenant) -> None:
    here = tenant.instance()
    body = {"instances": [here], "action": "soft_restart"}
    assert tenant.call("PUT", "instances/status", body).json["results"][0]["result"] == "success"
    assert tenant.call("PUT", "instances/status", body).json["results"][0]["result"] == "failed"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "DCS.4062"),
        ({"action": "restart"}, "DCS.4065"),
        ({"action": "restart", "instances": []}, "DCS.4065"),
        ({"action": "restart", "instances": ["x"]}, "DCS.4061"),
        ({"action": "restart", "instances": [str(uuid.UUID(int=n)) for n in range(51)]}, "DCS.4100"),
        ({"action": "stop", "instances": [str(uuid.UUID(int=1))]}, "DCS.4062"),
        ({"action": 1, "instances": [str(uuid.UUID(int=1))]}, "DCS.4062"),
    ],
)
def test_what_is_wrong_is_refused(tenant: Tenant, body: dict[str, object], code: str) -> None:
    assert tenant.call("PUT", "instances/status", body).refusal == (400, code)


def test_a_viewer_restarts_nothing(tenant: Tenant) -> None:
    viewer, here = tenant.colleague("viewer"), tenant.instance()
    body = {"instances": [here], "action": "restart"}
    assert viewer.call("PUT", "instances/status", body).refusal == (403, "DCS.2007")
    assert tenant.stored(here).status == "RUNNING"
