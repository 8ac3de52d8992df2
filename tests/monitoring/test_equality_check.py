"""How nodes of an instance differ, in words."""

from cachewright.monitoring.equality_check import Compared, differences

SAME = Compared({"a": b"1"})


def test_equal_nodes_do_not_differ() -> None:
    assert differences({}) == ""
    assert differences({"n1": SAME}) == ""
    assert differences({"n1": SAME, "n2": SAME, "n3": SAME}) == ""


def test_the_node_that_differs_from_most_is_named() -> None:
    other = Compared({"a": b"2"})
    assert differences({"n1": SAME, "n2": other, "n3": SAME}) == ("node n2 has another version of function library a")


def test_a_library_of_one_node_is_missing_on_the_others() -> None:
    more = Compared({"a": b"1", "b": b"1"})
    assert differences({"n1": SAME, "n2": more}) == "node n1 does not have function library b"


def test_libraries_that_are_too_large_are_not_compared_and_named() -> None:
    large = Compared(None)
    assert differences({"n1": SAME, "n2": large}) == (
        "the function libraries of node n2 take more than 16777216 bytes, and are not compared"
    )


def test_many_differences_are_counted() -> None:
    bare = Compared({})
    many = Compared(dict.fromkeys("abcde", b"1"))
    assert differences({"n1": many, "n2": bare}).endswith("; and 2 more")
