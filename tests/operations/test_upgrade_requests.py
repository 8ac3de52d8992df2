"""Which minor version upgrades are accepted."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright.errors import ApiError
from cachewright.operations import upgrade
from cachewright.operations.upgrade import UPGRADE, UpgradeRequest
from cachewright.tasks.operation import ActionFailed
from database_fixtures import a_task, an_instance

CONFIGURED = ("9.1.2", "9.0.0", "9.1.10")


def request(version: str, running: Mapping[str, str | None]) -> UpgradeRequest:
    return UpgradeRequest(version=version, configured=CONFIGURED, running=running)


@pytest.mark.parametrize(("version", "target"), [("latest", "9.1.10"), ("9.1.2", "9.1.2")])
def test_latest_is_the_newest_configured_version(version: str, target: str) -> None:
    accepted = UPGRADE.validate(an_instance(), (), request(version, {"a": "9.0.0", "b": "9.1.2"}))
    assert accepted.params.engine_minor_version == target
    assert accepted.details == {"engine_minor_version": target}


@pytest.mark.parametrize(
    ("version", "running", "code", "reason"),
    [
        ("9.2.0", {"a": "9.0.0"}, "DCS.4062", "this host has 9.1.2, 9.0.0, 9.1.10"),
        ("9.1.2", {"a": "9.0.0", "b": None}, "DCS.4049", "node b does not answer"),
        ("latest", {"a": "9.1.10", "b": "9.1.10"}, "DCS.4053", "All nodes run version 9.1.10 already"),
        ("9.1.2", {"a": "9.0.0", "b": "9.1.10"}, "DCS.4062", "a node runs 9.1.10, which is newer"),
        ("9.1.2", {"a": "9.1.1"}, "DCS.4062", "nodes run 9.1.1, to which they could not return"),
    ],
)
def test_other_upgrades_are_refused(version: str, running: Mapping[str, str | None], code: str, reason: str) -> None:
    with pytest.raises(ApiError) as refused:
        UPGRADE.validate(an_instance(), (), request(version, running))
    assert refused.value.code == code
    assert reason in refused.value.message


def test_it_waits_for_the_maintenance_window_if_that_is_requested() -> None:
    wanted = UpgradeRequest(version="latest", configured=CONFIGURED, running={"a": "9.0.0"}, in_window=True)
    assert UPGRADE.validate(an_instance(), (), wanted).in_window
    assert not UPGRADE.validate(an_instance(), (), request("latest", {"a": "9.0.0"})).in_window


@pytest.mark.parametrize(
    ("configured", "present", "reason"),
    [
        (["9.0.0"], "9.0.0", "this host has 9.0.0"),
        (["9.1.2"], "9.0.0", "nodes run 9.0.0, to which they could not return"),
        (["9.1.2", "9.1.10"], "9.1.10", "a node runs 9.1.10, which is newer"),
    ],
)
async def test_servers_are_checked_again_when_it_begins(
    monkeypatch: pytest.MonkeyPatch, configured: Sequence[str], present: str, reason: str
) -> None:
    """The host may have got other servers while the task waited for its window."""

    async def running(*_: Any) -> dict[str, str]:
        return {"a": present}

    monkeypatch.setattr(upgrade, "_running", running)
    context: Any = SimpleNamespace(host=SimpleNamespace(server_versions=lambda: configured))
    with pytest.raises(ActionFailed, match=reason) as failed:
        await UPGRADE.plan(context, a_task(kind="upgrade", params={"engine_minor_version": "9.1.2"}))
    assert (failed.value.code, failed.value.final) == ("DCS.4062", True)
