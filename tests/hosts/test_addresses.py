"""Which addresses requests may be sent to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.hosts.addresses import (
    is_allowed,
    is_local,
    is_loopback,
    literal,
    node_addresses,
    own_addresses,
    parse_node_address,
)

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "fec0::1",
    "::ffff:127.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
NEVER = [
    "0.0.0.0",  # noqa: S104  # nothing is bound to it
    "0.1.2.3",
    "169.254.169.254",
    "100.100.100.200",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
]


def test_loopback_has_an_address_for_each_instance_and_a_network_has_one() -> None:
    here = list(node_addresses("127.0.0.1"))
    assert here[0] == "127.0.0.1"
    assert len(set(here)) == len(here) > 1000
    assert all(map(is_loopback, here))
    assert is_local(here[-1])
    assert list(node_addresses("10.1.2.3")) == ["10.1.2.3"]
    assert not is_local("192.0.2.1")


@pytest.mark.parametrize("text", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "localhost", "10.1.2", ""])  # noqa: S104
def test_nodes_need_an_address_that_clients_can_reach(text: str) -> None:
    with pytest.raises(ValueError, match="--node-address"):
        parse_node_address(text)


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [(PUBLIC, (True, True)), (PRIVATE, (True, False)), (NEVER, (False, False))],
    ids=["public", "private", "never"],
)
def test_addresses_are_told_apart(addresses: list[str], allowed: tuple[bool, bool]) -> None:
    for text in addresses:
        address = ipaddress.ip_address(text)
        assert (is_allowed(address, to_private=True), is_allowed(address, to_private=False)) == allowed, text


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_form_is_treated_alike(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.ip_address(f"::ffff:{address}")
    for to_private in (True, False):
        assert is_allowed(mapped, to_private=to_private) == is_allowed(address, to_private=to_private)


def test_addresses_of_this_machine_are_private() -> None:
    public = ipaddress.ip_address("8.8.8.8")
    assert not is_allowed(public, to_private=False, own={public})
    assert is_allowed(public, to_private=True, own={public})
    assert ipaddress.ip_address("127.0.0.1") in own_addresses()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "0177.0.0.01", "2130706433", "0x7f000001"])
def test_every_way_to_write_an_ipv4_address_is_one(host: str) -> None:
    assert str(literal(host)) == "127.0.0.1"


@pytest.mark.parametrize("host", ["localhost", "example.com", "127.0.0.1.example.com", "", "a" * 64, "1.2.3.4.5"])
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None
