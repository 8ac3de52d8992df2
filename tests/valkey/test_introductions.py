"""Which nodes meet which others when new nodes become members of a cluster."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.instances import Node
from cachewright.valkey.cluster_membership import meetings
from hosts_with_nodes import node

MEMBERS = [node(number, "") for number in range(3)]
NEW = [node(number, "") for number in range(3, 6)]
IDS = [member.id for member in [*MEMBERS, *NEW]]


def pairs(nodes: Sequence[Node], known: dict[str, set[str]]) -> list[tuple[str, str]]:
    """(id of the node that meets, id of the other)."""
    return [(one.id, other.id) for one, others in meetings(nodes, NEW, known) for other in others]


def test_each_member_meets_each_new_node() -> None:
    met = pairs([*MEMBERS, *NEW], {})
    for member in MEMBERS:
        for new in NEW:
            assert met.count((member.id, new.id)) == 1


def test_of_two_new_nodes_the_later_one_meets_the_earlier_one() -> None:
    one, two, three = (new.id for new in NEW)
    assert pairs(NEW, {}) == [(two, one), (three, one), (three, two)]


def test_a_new_node_that_is_known_meets_the_other_itself() -> None:
    one, two, three = (new.id for new in NEW)
    assert pairs(NEW, {two: {one}, three: {one, two}}) == [(one, two), (one, three), (two, three)]


@given(st.fixed_dictionaries({node_id: st.sets(st.sampled_from(IDS)) for node_id in IDS}))
def test_each_new_node_is_met_once_by_one_of_a_pair_that_lacks_knowledge(known: dict[str, set[str]]) -> None:
    met = pairs([*MEMBERS, *NEW], known)
    assert len(met) == len(set(met))
    for one in [*MEMBERS, *NEW]:
        for new in NEW:
            if one.id == new.id:
                continue
            knows, is_known = new.id in known[one.id], one.id in known[new.id]
            meets, is_met = (one.id, new.id) in met, (new.id, one.id) in met
            if one in MEMBERS:
                assert (meets, is_met) == (not knows, False)
            elif knows or is_known:
                assert (meets, is_met) == (not knows, not is_known)
            else:
                assert meets != is_met
