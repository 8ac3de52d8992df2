"""Where the data of a backup fits."""

import msgspec
import pytest

from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.operations.restore_content import BackupContent, expected_bytes, needs_slot_order, require_fits

CLUSTER, SINGLE = "redis.cluster.xu1.large.r1.s1.3", "redis.single.xu1.large.1"
MB = 1024 * 1024


def content(**changed: object) -> BackupContent:
    usual = BackupContent(
        backup_id="b",
        name="cache",
        spec_code=CLUSTER,
        sizes={0: 100 * MB, 1: 200 * MB},
        databases=(0,),
        keys=1,
        server_version="9.1.2",
        parameters={},
    )
    return msgspec.structs.replace(usual, **changed)


@pytest.mark.parametrize(
    ("changed", "spec_code", "version", "refusal"),
    [
        ({}, CLUSTER, "9.1.2", None),
        ({}, SINGLE, "10.0.0", None),
        ({}, SINGLE, None, None),
        ({"databases": (0, 5)}, SINGLE, None, None),
        ({"databases": (0, 5)}, CLUSTER, None, "DCS.4062"),
        ({"server_version": "9.1.3"}, CLUSTER, "9.1.2", "DCS.4062"),
        ({"sizes": {0: 1025 * MB}}, SINGLE, None, "DCS.4036"),
        ({"memory": 1024 * MB}, SINGLE, None, None),
        ({"memory": 1025 * MB}, SINGLE, None, "DCS.4036"),  # compressed, the snapshots are smaller
    ],
)
def test_data_that_does_not_fit_is_refused(
    changed: dict[str, object], spec_code: str, version: str | None, refusal: str | None
) -> None:
    code = None
    try:
        require_fits(content(**changed), parse(spec_code), version)
    except ApiError as error:
        code = error.code
    assert code == refusal


def test_slots_are_divided_first_where_the_backup_has_none() -> None:
    assert needs_slot_order(content(spec_code=SINGLE), 3)
    assert not needs_slot_order(content(spec_code=SINGLE), 1)
    assert not needs_slot_order(content(), 3)


def test_the_expected_size_is_the_share_of_the_slots() -> None:
    assert expected_bytes(None, content()) == 300 * MB
    assert expected_bytes((), content()) == 1
    assert expected_bytes([(0, 8191)], content()) == 150 * MB
