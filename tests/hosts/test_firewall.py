"""Rules against other users of the machine: which ports they cover, and how they are written."""

import socket

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import parse_ports, show_ports
from cachewright.hosts.firewall import conflicts, protected_ports, ruleset
from cachewright.hosts.ports import find_node_ports, listeners, used_for_outgoing
from standalone_node import node_at

RANGE = (20000, 20100)


def test_the_range_is_covered_and_nodes_of_earlier_releases_keep_their_ports() -> None:
    old = msgspec.structs.replace(node_at(20005), bus_port=15000)
    new = msgspec.structs.replace(node_at(12000), bus_port=20001, tls_port=20002)
    ports = protected_ports(RANGE, [old, new])
    assert ports.clients == {20005, 12000}
    assert ports.peers == {15000, *range(*RANGE)} - {20005}


def test_rules_name_the_owner_and_replace_earlier_ones() -> None:
    text = ruleset("cachewright_1", 1000, protected_ports(RANGE, [node_at(12000)]))
    assert text.startswith("table inet cachewright_1\ndelete table inet cachewright_1\n")
    assert "meta skuid 1000 accept" in text
    assert "tcp dport { 1, 20000-20099 } reject" in text
    assert "tcp sport { 1, 12000, 20000-20099 } drop" in text


@given(st.sets(st.integers(1, 65535), min_size=1, max_size=50))
def test_sets_of_ports_are_written_whole(ports: set[int]) -> None:
    nodes = [node_at(port) for port in ports]
    text = ruleset("t", 0, protected_ports((1024, 1025), nodes))
    written = text.partition("sport { ")[2].partition(" }")[0].split(", ")
    spans = [span.partition("-") for span in written]
    assert {port for low, _, high in spans for port in range(int(low), int(high or low) + 1)} == ports | {1, 1024}


def test_programs_of_other_users_are_not_cut_off() -> None:
    protected = protected_ports(RANGE, [])
    assert conflicts(protected, 0, [(20001, 33), (20002, 0), (19999, 33)]) == {20001: 33}


def test_who_listens_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = server.getsockname()[1]
        assert mine in {port for port, user in listeners()}
    assert used_for_outgoing((mine, mine + 1)), "the system has just given it"


def test_ports_of_a_node_come_from_two_ranges() -> None:
    found = find_node_ports("127.0.0.1", (10240, 10300), RANGE, 5, {10241}, tls=True)
    assert len(found) == 5
    assert all(ports.client in range(10240, 10300) for ports in found)
    between = [port for ports in found for port in (ports.bus, ports.tls)]
    assert all(port in range(*RANGE) for port in between if port)
    assert len(set(between)) == 10
    assert find_node_ports("127.0.0.1", (10240, 10300), RANGE, 1, set(), tls=False)[0].tls is None


@pytest.mark.parametrize(
    "wrong", ["", "2000", "2000-", "80-90", "3000-2000", "3000-3000", "3000-70000", "a-b", "1-2-3"]
)
def test_a_range_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not FIRST-LAST"):
        parse_ports(wrong)


def test_a_range_is_read_as_it_is_shown() -> None:
    assert show_ports(parse_ports("20000-23999")) == "20000-23999"
