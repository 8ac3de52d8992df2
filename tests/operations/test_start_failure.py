"""Why a node does not start, and what the operator is told."""

import pytest

from cachewright.operations.start_failure import FILES_MISSING, Damage, start_failure, way_out


@pytest.mark.parametrize(
    ("log", "damage", "cause"),
    [
        ('1:M * # Unrecoverable error: corrupted cluster config file "x".', "membership", "its nodes.conf is damaged"),
        ("Bad file format reading the append only file appendonly.aof.1.incr.aof: make a backup", "data",
         "its append-only file is damaged"),
        ("Could not create server TCP listening socket 127.0.0.1:1: bind: Address already in use", "none",
         "its port is taken"),
        ("write: No space left on device", "none", "the disk is full"),
        ("its files are missing", "data", "its files are missing"),
        ("first\nsomething new\n", "none", "something new"),
        ("", "none", "it gives no reason"),
    ],
)  # fmt: skip
def test_the_cause_is_named(log: str, damage: Damage, cause: str) -> None:
    found = start_failure(log)
    assert (found.damage, found.cause) == (damage, cause)


def test_the_advice_depends_on_whether_another_node_has_the_data() -> None:
    assert "RebuildNode" in way_out(FILES_MISSING, has_other=True)
    alone = way_out(FILES_MISSING, has_other=False)
    assert "RebuildNode" not in alone
    assert "cuts off all writes" in alone
    assert "RebuildNode" in way_out(start_failure("corrupted cluster config file"), has_other=False)
    assert "cause" in way_out(start_failure("Address already in use"), has_other=True)
