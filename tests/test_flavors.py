"""Spec codes: their meaning, and the rejection of other texts."""

import re
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.flavors import MAX_SHARDS, Flavor, UnknownFlavor, machine_cpu_type, offered, parse

LOOKALIKES = st.from_regex(
    re.compile(
        r"redis\.(single|ha|cluster|proxy)\.(xu1|au1)\.(tiny|large)(\.[rp][0-9]{1,2})?(\.s[0-9]{1,3})?\.[0-9]{1,5}"
    ),
    fullmatch=True,
)


@pytest.mark.parametrize(
    ("spec_code", "cache_mode", "capacity", "shards", "copies"),
    [
        ("redis.single.xu1.tiny.128", "single", "0.125", 1, 1),
        ("redis.single.au1.large.2", "single", "2", 1, 1),
        ("redis.ha.xu1.large.r2.1", "ha", "1", 1, 2),
        ("redis.ha.xu1.large.p2.8", "ha_rw_split", "8", 1, 2),
        ("redis.cluster.xu1.large.r2.4", "cluster", "4", 3, 2),
        ("redis.cluster.xu1.large.r1.48", "cluster", "48", 6, 1),
        ("redis.cluster.xu1.large.r2.s1.8", "cluster", "8", 8, 2),
        ("redis.cluster.au1.large.r3.1024", "cluster", "1024", 128, 3),
        ("redis.proxy.xu1.large.4", "proxy", "4", 3, 2),
        ("redis.proxy.xu1.large.s1.16", "proxy", "16", 16, 2),
        ("redis.proxy.xu1.large.2048", "proxy", "2048", 128, 2),
    ],
)
def test_what_the_reference_shows(spec_code: str, cache_mode: str, capacity: str, shards: int, copies: int) -> None:
    flavor = parse(spec_code)
    assert (flavor.cache_mode, flavor.capacity_gb, flavor.shards, flavor.copies) == (
        cache_mode,
        capacity,
        shards,
        copies,
    )
    assert flavor.cpu_type == ("x86_64" if ".xu1." in spec_code else "aarch64")


@pytest.mark.parametrize(
    "spec_code",
    [
        "",
        "redis.single.xu1.tiny.125",  # the reference's own misprint
        "redis.single.xu1.tiny.1024",
        "redis.single.xu1.large.3",
        "redis.single.xu1.large.r1.2",
        "redis.single.xu1.large.s1.2",
        "redis.ha.xu1.large.r1.2",
        "redis.ha.xu1.tiny.p2.512",
        "redis.cluster.xu1.large.p2.4",
        "redis.cluster.xu1.large.r0.4",
        "redis.cluster.xu1.large.r7.4",
        "redis.cluster.xu1.large.r02.4",
        "redis.cluster.xu1.large.r2.s0.4",
        "redis.cluster.xu1.large.r2.s01.4",
        "redis.cluster.xu1.large.r2.s1.004",
        "redis.cluster.xu1.large.r2.s1.0",
        "redis.cluster.xu1.large.r2.5",
        "redis.cluster.xu1.large.r2.s2.5",
        "redis.cluster.xu1.large.r2.s1.129",
        "redis.cluster.xu1.tiny.r2.512",
        "redis.proxy.xu1.large.r2.4",
        "redis.cluster.xu1.large.r2.4\n",
        " redis.cluster.xu1.large.r2.4",
        "REDIS.cluster.xu1.large.r2.4",
        "redis.cluster.xu1.large.r\N{ARABIC-INDIC DIGIT TWO}.4",
    ],
)
def test_what_cannot_be_bought(spec_code: str) -> None:
    with pytest.raises(UnknownFlavor):
        parse(spec_code)


@given(st.one_of(st.text(), LOOKALIKES))
def test_any_text_is_a_flavor_or_unknown(text: str) -> None:
    with suppress(UnknownFlavor):
        _require_sound(parse(text), text)


@given(st.integers(1, MAX_SHARDS), st.integers(1, 64), st.integers(1, 6), st.sampled_from(["xu1", "au1"]))
def test_a_named_shard_size_gives_the_shards(shards: int, shard_gb: int, copies: int, cpu: str) -> None:
    spec_code = f"redis.cluster.{cpu}.large.r{copies}.s{shard_gb}.{shards * shard_gb}"
    flavor = parse(spec_code)
    _require_sound(flavor, spec_code)
    assert (flavor.shards, flavor.shard_mb, flavor.copies) == (shards, shard_gb * 1024, copies)


@pytest.mark.parametrize("cpu_type", ["x86_64", "aarch64"])
def test_what_is_offered_can_be_bought(cpu_type: str) -> None:
    codes = [flavor.spec_code for flavor in offered(cpu_type)]
    assert len(codes) == len(set(codes))
    assert all(
        parse(code).cpu_type == cpu_type and parse(code).cache_mode in {"cluster", "ha", "single"} for code in codes
    )


def test_this_machine_has_a_processor_type() -> None:
    assert machine_cpu_type() in {"x86_64", "aarch64"}


def _require_sound(flavor: Flavor, text: str) -> None:
    assert flavor.spec_code == text
    assert flavor.capacity_mb >= 128
    assert 1 <= flavor.shards <= MAX_SHARDS
    assert 1 <= flavor.copies <= 6
    assert flavor.shards * flavor.shard_mb <= flavor.capacity_mb
    assert Decimal(flavor.capacity_gb) * 1024 == flavor.capacity_mb
    assert "E" not in flavor.capacity_gb
