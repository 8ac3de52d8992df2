"""The nodes.conf of a node, from that of another member."""

import pytest

from cachewright.valkey.membership_file import as_member, as_replica, only_member, with_members
from cachewright.valkey.topology import parse_view

PRIMARY, BROKEN, OTHER = "a" * 40, "b" * 40, "c" * 40
INFO = "cluster_state:ok\r\ncluster_current_epoch:7"


def text(broken_role: str = "slave,fail", followed: str = PRIMARY, slots: str = "") -> str:
    """As the primary has it, with a slot that it is moving."""
    return (
        f"{PRIMARY} 127.0.0.1:1@2,,tls-port=0,shard-id=s myself,master - 0 0 5 connected 0-99 [93->-{OTHER}]\n"
        f"{BROKEN} 127.0.0.1:3@4,,tls-port=0,shard-id=s {broken_role} {followed} 1 2 5 disconnected{slots}\n"
        f"{OTHER} 127.0.0.1:5@6,,tls-port=0,shard-id=t master - 0 3 6 connected 100-16383\n"
        "vars currentEpoch 7 lastVoteEpoch 0\n"
    )


def test_a_replica_follows_the_primary_and_owns_nothing() -> None:
    made = as_replica(text(), BROKEN, PRIMARY)
    view = parse_view("\n".join(line for line in made.split("\n") if not line.startswith("vars")), INFO)
    own, primary, other = (view.members[node_id] for node_id in (BROKEN, PRIMARY, OTHER))
    assert view.own_id == BROKEN
    assert (own.flags, own.primary, own.slots) == ({"myself", "slave"}, PRIMARY, ())
    assert (primary.flags, primary.migrating) == ({"master"}, {})
    assert len(primary.slots[0]) == 100
    assert other.flags == {"master"}
    assert made.endswith("vars currentEpoch 7 lastVoteEpoch 7\n")
    assert "shard-id=s" in made.split("\n")[1]


def test_a_member_keeps_its_role_and_its_slots() -> None:
    made = as_member(text("master,fail", "-", " 200-300"), BROKEN)
    view = parse_view("\n".join(line for line in made.split("\n") if not line.startswith("vars")), INFO)
    own = view.members[BROKEN]
    assert (own.flags, own.primary, [(part.first, part.last) for part in own.slots]) == (
        {"myself", "master"}, None, [(200, 300)],
    )  # fmt: skip


def test_a_node_that_still_owns_slots_does_not_become_a_replica() -> None:
    with pytest.raises(ValueError, match="still owns slots"):
        as_replica(text("master,fail", "-", " 200-300"), BROKEN, PRIMARY)


@pytest.mark.parametrize("node_id", ["d" * 40, "e" * 40])
def test_a_node_that_the_other_does_not_list_is_not_made_up(node_id: str) -> None:
    with pytest.raises(ValueError, match="does not list"):
        as_member(text(), node_id)
    with pytest.raises(ValueError, match="does not list"):
        as_replica(text(), BROKEN, node_id)


def test_the_only_member_owns_every_slot() -> None:
    made = only_member(BROKEN, "127.0.0.1:3@4")
    view = parse_view(made.split("\n")[0], INFO)
    assert view.is_whole
    assert view.own_id == BROKEN


def test_a_new_node_knows_the_members_before_they_know_it() -> None:
    new, handshake, foreign = "d" * 40, "e" * 40, "f" * 40
    own = f"{new} 127.0.0.1:7@8,,tls-port=0,shard-id=u myself,slave {'9' * 40} 0 0 0 connected\n"
    own += "vars currentEpoch 0 lastVoteEpoch 0\n"
    lines = [
        f"{other} 127.0.0.1:9@10 {flags} - 0 0 0 connected\n"
        for other, flags in ((handshake, "handshake"), (foreign, "master"))
    ]
    made = with_members(own, "".join([*lines, text("slave")]), [PRIMARY, BROKEN, OTHER, handshake])
    view = parse_view("\n".join(line for line in made.split("\n") if not line.startswith("vars")), INFO)
    assert view.own_id == new
    assert view.members.keys() == {new, PRIMARY, BROKEN, OTHER}
    assert view.is_whole
    assert view.members[PRIMARY].flags == {"master"}
    assert not view.members[PRIMARY].migrating
    assert made.endswith("vars currentEpoch 7 lastVoteEpoch 7\n")


@pytest.mark.parametrize("known", ["", "garbage", f"{PRIMARY} 127.0.0.1:1@2 master - 0 0 5 connected 0-16383\n"])
def test_a_damaged_file_of_a_member_is_noticed(known: str) -> None:
    with pytest.raises(ValueError, match=r"too short|epoch"):
        with_members(only_member(BROKEN, "127.0.0.1:3@4"), known, [PRIMARY])
