"""The progress of a task is answered the same by the short way and by the framework, which takes other spellings."""

from uuid import UUID

import pytest
from litestar import Litestar
from tenants import Answer, Tenant

OF_EACH_REQUEST = {"x-request-id", "date"}


@pytest.fixture
def watched(tenant: Tenant) -> tuple[str, str]:
    instance_id = tenant.instance()
    return instance_id, tenant.add_task(instance_id, percent=41).id


def ways(tenant: Tenant, instance_id: str, task_id: str) -> tuple[str, str]:
    """Two paths of the same progress: the second spells ids as nobody does, and the framework alone reads it."""
    plain = f"instances/{instance_id}/tasks/{task_id}/progress"
    return tenant.path(plain), tenant.path(plain.replace(task_id, str(UUID(task_id))))


def told(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    return answer.status, answer.body, {k: v for k, v in answer.headers.items() if k not in OF_EACH_REQUEST}


def test_both_ways_answer_the_same(tenant: Tenant, watched: tuple[str, str]) -> None:
    short, long = (told(tenant.call("GET", path)) for path in ways(tenant, *watched))
    assert short == long
    assert short[0] == 200


def test_both_ways_know_what_the_client_has(tenant: Tenant, watched: tuple[str, str]) -> None:
    for path in ways(tenant, *watched):
        tag = tenant.call("GET", path).headers["etag"]
        unchanged = tenant.call("GET", path, headers={"If-None-Match": tag})
        assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)


def test_both_ways_refuse_the_same(tenant: Tenant, watched: tuple[str, str]) -> None:
    for unknown in ((watched[0], "0" * 32), ("00000000-0000-0000-0000-000000000000", watched[1])):
        short, long = (tenant.call("GET", path).refusal for path in ways(tenant, *unknown))
        assert short == long
        assert short[0] == 404


def test_the_short_way_does_not_lead_through_the_framework(
    tenant: Tenant, watched: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = ways(tenant, *watched)

    async def down(*_: object) -> None:
        raise RuntimeError("the framework was asked")

    monkeypatch.setattr(Litestar, "__call__", down)
    assert tenant.call("GET", short).status == 200
    assert tenant.call("GET", long).refusal == (500, "DCS.5000")
