"""The view of a cluster that decisions are based on, of those that its nodes have."""

import pytest

from cachewright.operations.context import best_view
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

HALF = SLOTS // 2


def a_view(*counts: int, epoch: int = 5, ok: bool = True) -> View:
    """A view in which each member owns as many slots, from the first slot on."""
    members, first = {}, 0
    for position, count in enumerate(counts):
        slots = (SlotRange(first, first + count - 1),) if count else ()
        name = chr(ord("a") + position) * 40
        members[name] = Member(id=name, address="", flags=frozenset(), primary=None, linked=True, slots=slots)
        first += count
    return View(ok=ok, epoch=epoch, members=members)


@pytest.mark.parametrize(
    ("best", "other"),
    [
        pytest.param(
            a_view(HALF, HALF), a_view(HALF, HALF, ok=False, epoch=9), id="a node that finds the cluster failed"
        ),
        pytest.param(a_view(HALF, HALF), a_view(HALF, 0, 0, 0, epoch=9), id="a node that joins, with the latest epoch"),
        pytest.param(a_view(HALF, HALF, epoch=6), a_view(SLOTS, 0), id="a node that missed a change"),
        pytest.param(a_view(HALF, HALF, 0), a_view(HALF, HALF), id="a node that does not know a member"),
        pytest.param(a_view(HALF, 0, epoch=6), a_view(HALF - 1, 0), id="no view with all slots"),
    ],
)
def test_the_best_view_is_not_of(best: View, other: View) -> None:
    assert best_view({"a": other, "b": None, "c": best}) is best
    assert best_view({"a": best, "b": None, "c": other}) is best


def test_a_silent_cluster_has_no_view() -> None:
    with pytest.raises(ActionFailed, match="no node answers"):
        best_view({"a": None})
