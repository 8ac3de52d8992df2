"""Parameters: their ranges, what they are on a node, and a real server that takes both ends of every range."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NodeRefused, ask, connect
from cachewright.valkey.config import cluster_settings, valkey_conf
from cachewright.valkey.parameters import (
    BY_ID,
    BY_NAME,
    PARAMETERS,
    RESERVED_CONNECTIONS,
    Parameter,
    deviations,
    node_settings,
    read_settings,
    real_values,
    same,
    values,
)
from standalone_node import OPEN, node_at, started

EVENTS = "notify-keyspace-events"


def ends(parameter: Parameter) -> list[str]:
    """Values at the ends of the range, or all of an enumeration."""
    if parameter.kind == "Integer":
        return parameter.range.split("-")
    return parameter.range.split(",") if parameter.kind == "Enum" else ["", "KEA", "K$", "Eg$lshzxe", "KEg$lshzxeKEA"]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started(tmp_path) as found:
        yield found


def test_ids_and_names_are_unique() -> None:
    assert len(BY_ID) == len(BY_NAME) == len(PARAMETERS)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_a_default_and_the_ends_of_a_range_are_in_it(parameter: Parameter) -> None:
    for value in (parameter.default, *ends(parameter)):
        assert parameter.fault(value) is None, value


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
@pytest.mark.parametrize(
    "value",
    ["-1", "+5", " 5", "5 ", "5\n", "05", "1.0", "1e3", "1mb", "5\nrequirepass x", '5" x', "\0", "YES", "٣", "K A"],
)  # fmt: skip
def test_what_is_outside_of_a_range_has_a_fault(parameter: Parameter, value: str) -> None:
    fault = parameter.fault(value)
    assert fault is not None
    assert parameter.name in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "7201"),
        ("maxclients", "999"),
        ("maxclients", "50001"),
        ("maxclients", "9" * 5000),
        ("maxmemory-policy", "volatile"),
        ("maxmemory-policy", "volatile-lru,allkeys-lru"),
        ("maxmemory-policy", ""),
        ("appendonly", "no"),
        ("appendfsync", "yes"),
        (EVENTS, "A"),
        (EVENTS, "K"),
        (EVENTS, "KEm"),
        (EVENTS, "KA" * 12),
    ],
)
def test_the_range_is_exact(name: str, value: str) -> None:
    assert BY_NAME[name].fault(value)


@given(st.text(max_size=40))
def test_any_text_is_in_a_range_or_has_a_fault(value: str) -> None:
    """And one that has none can stand in a file: it is a line of words without quotes."""
    for parameter in PARAMETERS:
        if parameter.fault(value) is None:
            assert set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789-KEA$")


async def test_a_server_takes_both_ends_of_every_range(node: Node) -> None:
    async with connect(node, OPEN) as client:
        for parameter in PARAMETERS:
            if parameter.need_restart:
                with pytest.raises(NodeRefused, match="immutable"):
                    await ask(client, "CONFIG SET", parameter.name, parameter.default)
                continue
            for value in (*ends(parameter), parameter.default):
                (setting,) = node_settings({parameter.name: value}).items()
                try:
                    await ask(client, "CONFIG SET", *setting)
                except NodeRefused as refusal:
                    assert parameter.name == "maxclients", refusal  # noqa: PT017  # refused by the host, not the server
                    assert "operating system" in str(refusal)  # noqa: PT017
                    continue
                found = read_settings(await ask(client, "CONFIG GET", parameter.name))
                assert deviations(found, {parameter.name: value}) == {}


async def test_a_file_with_parameters_starts_a_server_that_has_them(tmp_path: Path) -> None:
    changed = {"timeout": "17", "maxclients": "1000", EVENTS: "KEA", "tcp-backlog": "128"}
    conf = valkey_conf(node_at(1), Access("secret", None, tmp_path), changed, cluster_settings(node_at(1)), [])
    lines = [line for line in conf.splitlines() if line.split(" ", 1)[0] in BY_NAME]
    assert len(lines) == len(PARAMETERS), "each is there once"
    async with started(tmp_path, *lines) as node, connect(node, OPEN) as client:
        found = read_settings(await ask(client, "CONFIG GET", *BY_NAME))
    assert deviations(found, values(changed)) == {}


async def test_defaults_are_those_of_the_server(node: Node) -> None:
    """But for those of persistence, and for the clients that a node takes."""
    async with connect(node, OPEN) as client:
        found = read_settings(await ask(client, "CONFIG GET", *BY_NAME))
    assert set(deviations(found, values({}))) == {"appendonly", "maxclients"}


def test_a_node_has_more_connections_than_clients() -> None:
    assert node_settings({"maxclients": "1000"}) == {"maxclients": str(1000 + RESERVED_CONNECTIONS)}
    assert read_settings({"maxclients": str(1000 + RESERVED_CONNECTIONS), "dir": "/x"}) == {"maxclients": "1000"}
    assert read_settings({"maxclients": "10"}) == {"maxclients": "0"}


@pytest.mark.parametrize(("left", "right"), [("AKE", "KEA"), ("g$lshzxetdKE", "KEA"), ("", "")])
def test_events_are_compared_by_what_they_mean(left: str, right: str) -> None:
    assert same(EVENTS, left, right)
    assert not same(EVENTS, left + "m", right)


def test_the_value_of_a_node_that_differs_is_shown() -> None:
    recorded = values({"timeout": "5", EVENTS: "KEA"})
    as_recorded = recorded | {EVENTS: "AKE"}
    assert real_values([as_recorded, as_recorded], recorded) == recorded
    assert real_values([as_recorded, as_recorded | {"timeout": "7"}], recorded) == recorded | {"timeout": "7"}
