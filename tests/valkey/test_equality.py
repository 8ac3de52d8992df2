"""Definitions of nodes, compared and merged."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.equality import compare, hashed, merged

DEFINITIONS: st.SearchStrategy[Mapping[str, bytes]] = st.dictionaries(
    st.sampled_from("abcd"), st.sampled_from([b"1", b"2", b"3"])
)


@given(DEFINITIONS, DEFINITIONS)
def test_a_node_that_applies_a_difference_has_what_it_should_have(
    wanted: Mapping[str, bytes], present: Mapping[str, bytes]
) -> None:
    difference = compare(wanted, present)
    after = {name: code for name, code in present.items() if name not in difference.extra}
    after |= {**difference.missing, **difference.different}
    assert after == wanted
    assert bool(difference) == (wanted != present)
    assert difference.names <= wanted.keys() | present.keys()


@given(DEFINITIONS, DEFINITIONS)
def test_only_equal_definitions_have_the_same_hashes(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> None:
    assert (hashed(one) == hashed(other)) == (one == other)


@given(st.lists(DEFINITIONS), DEFINITIONS)
def test_nothing_that_a_node_has_is_left_out_and_the_order_of_nodes_does_not_matter(
    nodes: list[Mapping[str, bytes]], preferred: Mapping[str, bytes]
) -> None:
    union = merged(nodes, preferred)
    assert union.keys() == {name for node in nodes for name in node}
    assert all(any(node.get(name) == code for node in nodes) for name, code in union.items())
    assert merged(nodes[::-1], preferred) == union
    assert merged([union, union], preferred) == union


def test_the_version_of_most_nodes_is_chosen() -> None:
    assert merged([{"a": b"1"}, {"a": b"2"}, {"a": b"2"}, {}], {"a": b"1"}) == {"a": b"2"}


def test_of_two_equally_common_versions_the_present_one_is_kept() -> None:
    for version in (b"1", b"2"):
        assert merged([{"a": b"1"}, {"a": b"2"}], {"a": version}) == {"a": version}
