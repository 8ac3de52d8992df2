"""Which minor version upgrades are accepted."""

from collections.abc import Mapping

import pytest

from cachewright.errors import ApiError
from cachewright.operations.upgrade import UPGRADE, UpgradeRequest
from database_fixtures import an_instance

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
