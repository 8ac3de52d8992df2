"""When a sentinel may be away for its move to another host."""

from collections.abc import Mapping

import pytest

from cachewright.model.sentinels import Sentinel
from cachewright.monitoring.sentinel_places import _may_pause
from cachewright.valkey.sentinel import Watched

FLEET = [Sentinel(id=name, host="10.0.0.1", port=1, secret="", created_at=1) for name in ("a", "b", "c")]


def watched(name: str, sentinels: int = 2, *flags: str) -> Watched:
    return Watched(name=name, port=1, flags=frozenset(flags), epoch=1, sentinels=sentinels, replicas=1)


def views(*of_each: Watched) -> dict[str, Mapping[str, Watched]]:
    return {sentinel.id: {each.name: each for each in of_each} for sentinel in FLEET}


def blind(*flags: str) -> dict[str, Mapping[str, Watched]]:
    """Two sentinels do not reach the nodes of the instance `hidden`."""
    found = views(watched("plain"), watched("hidden", 0, *flags))
    return {**found, "c": {"plain": watched("plain")}}


@pytest.mark.parametrize(
    ("seen", "bound", "may"),
    [
        (views(watched("plain")), set(), True),
        (views(watched("plain", 1)), set(), False),
        (views(watched("plain", 2, "failover_in_progress")), set(), False),
        ({key: view for key, view in views(watched("plain")).items() if key != "a"}, set(), False),
        (blind(), set(), False),
        (blind(), {"hidden"}, True),
        (blind("failover_in_progress"), {"hidden"}, False),
    ],
    ids=["all known", "one unknown", "a failover", "one away", "blind", "they return", "a failover of it"],
)
def test_a_sentinel_pauses_only_while_the_others_can_perform_a_failover(
    seen: Mapping[str, Mapping[str, Watched]], bound: set[str], may: bool
) -> None:
    assert _may_pause(FLEET, seen, bound) == may
