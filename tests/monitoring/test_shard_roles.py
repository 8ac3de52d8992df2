"""The role with which a node of a shard is shown."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.instances import Node, Role
from cachewright.monitoring.shard_roles import ReportedRole, shard_roles


def node(shard: int, created: Role, number: int = 0) -> Node:
    return Node(
        id=f"{shard}-{created}-{number}",
        instance_id="i",
        shard=shard,
        role=created,
        host="127.0.0.1",
        port=1,
        bus_port=2,
        maxmemory=1,
        should_run=True,
        created_at=1,
    )


OLD, NEW = node(0, "primary"), node(0, "replica")


@pytest.mark.parametrize(
    ("first", "second", "primary"),
    [
        (ReportedRole(OLD, "primary", True), ReportedRole(NEW, "replica", True), OLD),
        (ReportedRole(OLD, "replica", True), ReportedRole(NEW, "primary", True), NEW),
        (ReportedRole(OLD, "replica", False), ReportedRole(NEW, "primary", False), OLD),
        (ReportedRole(OLD, "primary", True), ReportedRole(NEW, "primary", False), OLD),
        (ReportedRole(OLD, "primary", True), ReportedRole(NEW, "primary", True), NEW),
        (ReportedRole(OLD, None, False), ReportedRole(NEW, "primary", True), NEW),
        (ReportedRole(OLD, "replica", True), ReportedRole(NEW, None, False), NEW),
        (ReportedRole(OLD, "replica", True), ReportedRole(NEW, "replica", True), OLD),
        (ReportedRole(OLD, None, False), ReportedRole(NEW, None, False), OLD),
    ],
    ids=[
        "as created",
        "a replica has taken over",
        "both join",
        "the replica joins",
        "the old primary does not know it yet",
        "the old primary restarts",
        "the new primary restarts",
        "both are asked while the replica takes over",
        "none responds",
    ],
)
def test_a_shard_has_one_primary(first: ReportedRole, second: ReportedRole, primary: Node) -> None:
    roles = shard_roles([first, second])
    assert [node_id for node_id, role in roles.items() if role == "primary"] == [primary.id]


REPORTS = st.builds(
    lambda shard, created, number, role, serving: ReportedRole(
        node(shard, created, number), role, serving and role is not None
    ),
    st.integers(0, 3),
    st.sampled_from(["primary", "replica"]),
    st.integers(0, 2),
    st.sampled_from(["primary", "replica", None]),
    st.booleans(),
)


@given(st.lists(REPORTS, unique_by=lambda report: report.node.id))
def test_no_shard_has_two_primaries(reports: list[ReportedRole]) -> None:
    roles = shard_roles(reports)
    assert roles.keys() == {report.node.id for report in reports}
    primaries = Counter(report.node.shard for report in reports if roles[report.node.id] == "primary")
    assert max(primaries.values(), default=0) <= 1
    for report in reports:
        alone = len([other for other in reports if other.node.shard == report.node.shard]) == 1
        if alone and report.is_serving and report.role == "primary":
            assert roles[report.node.id] == "primary"
