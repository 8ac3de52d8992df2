"""Whose address counts: the nearest that no trusted proxy has."""

from typing import Any

import pytest

from cachewright.api.auth.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])
PROXY = "10.0.0.1"


def resolved(peer: str | None, *headers: tuple[str, str]) -> str | None:
    scope: Any = {
        "client": None if peer is None else (peer, 1234),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    PROXIES.resolve(scope)
    return scope["client"][0] if scope["client"] else None


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.66, 192.0.2.1", "192.0.2.1"),
        ("192.0.2.66, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
        ("10.1.1.1, 10.9.9.9", "10.1.1.1"),
        (" 192.0.2.1:4711 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", PROXY),
        ("192.0.2.1, unknown, 10.9.9.9", "10.9.9.9"),
        ("", PROXY),
        ("192.0.2.1,", PROXY),
        ("é, \xff", PROXY),
    ],
)
def test_a_list_of_addresses_is_read_from_its_end(value: str, client: str) -> None:
    assert resolved(PROXY, ("x-forwarded-for", value)) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
        ('proto=http; for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=192.0.2.66, for="192.0.2.1:80";host="a,b;c", for=10.9.9.9', "192.0.2.1"),
        ("for=192.0.2.1, proto=https", PROXY),
        ("for=_hidden", PROXY),
        ("for=unknown, for=10.9.9.9", "10.9.9.9"),
        ('for="192.0.2.1', PROXY),
        ("192.0.2.1", PROXY),
        (";;;", PROXY),
        ("", PROXY),
    ],
)
def test_elements_of_forwarded_are_read_from_their_end(value: str, client: str) -> None:
    assert resolved(PROXY, ("forwarded", value)) == client


def test_several_headers_are_one_list() -> None:
    assert resolved(PROXY, ("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "192.0.2.1")) == "192.0.2.1"


def test_of_two_headers_that_differ_neither_is_believed() -> None:
    forged = ("forwarded", "for=192.0.2.66")
    assert resolved(PROXY, forged, ("x-forwarded-for", "192.0.2.1")) == PROXY
    assert resolved(PROXY, ("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")) == "192.0.2.1"


@pytest.mark.parametrize("peer", ["192.0.2.5", "2001:db8:2::1", "not an address", "", None])
def test_nobody_else_is_believed(peer: str | None) -> None:
    assert resolved(peer, ("x-forwarded-for", "192.0.2.1")) == peer


@pytest.mark.parametrize("peer", ["2001:db8:1::1", "::ffff:10.0.0.1"])
def test_a_proxy_is_known_by_either_kind_of_address(peer: str) -> None:
    assert resolved(peer, ("x-forwarded-for", "192.0.2.1")) == "192.0.2.1"
