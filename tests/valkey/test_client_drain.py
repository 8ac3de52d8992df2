"""Which connections of a node that ends are waited for, and which are closed at once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.client_drain import (
    SILENT_SECONDS,
    Connection,
    Drain,
    Silence,
    client_connections,
    knows_by_name,
)
from standalone_node import node_at

QUIET = {"flags": "N", "user": "default", "name": "", "tot-cmds": "3", "qbuf": "0", "obl": "0", "oll": "0"}


def row(**changed: str) -> dict[str, str]:
    return {"id": "7", **QUIET, **changed}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "others"),
        ({"flags": "P"}, "subscribers"),
        ({"flags": "O"}, "monitors"),
        ({"flags": "b"}, "blocked"),
        ({"flags": "xd"}, "transactions"),
        ({"flags": "r"}, "others"),
    ],
)
def test_the_kind_is_what_a_closed_connection_would_lose(changed: dict[str, str], kind: str) -> None:
    (connection,) = client_connections([row(**changed)], by_name=False)
    assert (connection.kind, connection.holds) == (kind, kind != "others")


@pytest.mark.parametrize(
    ("changed", "redirects", "kind"),
    [
        ({"lib-name": "node-redis"}, True, "stale"),
        ({"lib-name": "node-redis(sessions)"}, True, "stale"),
        ({"lib-name": "node-redis", "flags": "r"}, True, "others"),
        ({"lib-name": "node-redis", "flags": "P"}, True, "subscribers"),
        ({"lib-name": "node-redis"}, False, "others"),
        ({"lib-name": "redis-py"}, True, "others"),
        ({}, True, "others"),
    ],
)
def test_a_library_that_leaves_once_it_was_redirected_is_waited_for(
    changed: dict[str, str], redirects: bool, kind: str
) -> None:
    (connection,) = client_connections([row(**changed)], by_name=False, redirects=redirects)
    assert (connection.kind, connection.holds) == (kind, kind != "others")


@pytest.mark.parametrize(
    ("grace", "holding", "waits"),
    [(0, {"stale": 1}, 5), (10, {"stale": 1}, 10), (0, {"blocked": 1}, 0), (10, {"blocked": 1}, 10), (10, {}, 10)],
)
def test_stale_clients_are_waited_for_without_a_grace_too(grace: int, holding: dict[str, int], waits: int) -> None:
    assert Drain(grace_seconds=grace, has_successor=True, redirects=True).grace_of(holding) == waits


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    "changed",
    [{"user": "cachewright"}, {"addr": "/n/valkey.sock:0"}, {"flags": "S"}, {"flags": "M"}, {"flags": "Sb"}],
)
def test_the_control_plane_and_other_nodes_are_no_clients(changed: dict[str, str], by_name: bool) -> None:
    assert client_connections([row(**changed)], by_name=by_name) == []


def test_a_client_that_takes_the_name_of_the_control_plane_stays_a_client() -> None:
    named = [row(name="cachewright")]
    socket, old = (msgspec.structs.replace(node_at(1), access=access) for access in ("socket", "password"))
    assert len(client_connections(named, by_name=knows_by_name(socket))) == 1
    assert client_connections(named, by_name=knows_by_name(old)) == []


@given(
    st.lists(st.tuples(st.floats(0.01, 0.5), st.integers(0, 1), st.booleans()), min_size=1),
    st.sampled_from(["others", "blocked"]),
)
def test_a_connection_is_silent_after_a_while_without_a_command(
    samples: list[tuple[float, int, bool]], kind: str
) -> None:
    silence, now, commands, since = Silence(), 0.0, 0, 0.0
    for number, (pause, sent, is_waiting) in enumerate(samples):
        now += pause
        commands += sent
        if sent or is_waiting or kind != "others" or number == 0:
            since = now
        silent = silence.silent([Connection("1", kind, commands, is_waiting)], now)
        assert bool(silent) == (now - since >= SILENT_SECONDS)
