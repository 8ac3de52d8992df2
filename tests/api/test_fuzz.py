"""Paths and queries of any bytes are decoded or rejected in the contract's form, and never fail."""

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tenants import Site, Tenant

from cachewright.api import requests
from cachewright.api.middleware import _route_path
from cachewright.api.schemas.flavors import FlavorsQuery
from cachewright.api.schemas.instance_changes import BatchDeleteQuery
from cachewright.api.schemas.instances import InstancesQuery
from cachewright.api.schemas.paging import PageQuery
from cachewright.api.schemas.statistics import StatusQuery
from cachewright.api.schemas.tasks import ListQuery
from cachewright.errors import ApiError

QUERIES = (InstancesQuery, ListQuery, FlavorsQuery, PageQuery, StatusQuery, BatchDeleteQuery)
NAMES = sorted({name for shape in QUERIES for name in shape.__struct_fields__})

escapes = st.sampled_from([b"%2F", b"%2f", b"%00", b"%25", b"%ff", b"%C3%A9", b"%", b"%zz", b"%2", b"+", b"..", b"."])
pieces = st.one_of(escapes, st.binary(max_size=4), st.sampled_from([b"v2", b"instances", b"tasks", b"null", b"-1"]))
segments = st.lists(pieces, max_size=4).map(b"".join)
paths = st.lists(segments, max_size=8).map(lambda parts: b"/" + b"/".join(parts))
pairs = st.tuples(st.one_of(st.sampled_from(NAMES).map(str.encode), segments), segments).map(b"=".join)
queries = st.one_of(st.lists(pairs, max_size=5).map(b"&".join), st.binary(max_size=40))
VISIBLE = frozenset(range(0x21, 0x7F)) - set(b'"#<>?\\^`{|}/&')
typed = st.lists(
    st.one_of(escapes, st.binary(max_size=4).map(lambda raw: bytes(byte for byte in raw if byte in VISIBLE))),
    max_size=4,
).map(lambda parts: b"".join(parts).decode("ascii"))
"""What a client can send as it is."""


def unless_refused(code: str, read: Callable[[], Any]) -> Any:
    """What is read; None where it is refused with `code` and a message that fits."""
    refused = None
    try:
        return read()
    except ApiError as refusal:
        refused = refusal
    assert refused.code == code
    assert 0 < len(refused.message) <= 1024
    return None


def raw_segments(raw: bytes) -> list[bytes]:
    """Those of a path without its query: a `?` in it is one of its characters."""
    return raw.removesuffix(b"/").split(b"/")[1:]


@given(paths)
@example(b"/%2F?")
@example(b"/?")
@example(b"/a?/%2fb/?/")
def test_a_path_is_decoded_within_its_segments_or_refused(raw: bytes) -> None:
    """A route is found by what stands between the slashes that were sent; no slash comes from an escape."""
    path = _route_path(raw)
    if path is None:
        return
    decoded = path.split("/")[1:] if path != "/" else []
    sent = raw_segments(raw)
    assert len(decoded) == len(sent)
    assert all(decoded)
    for text, segment in zip(decoded, sent, strict=True):
        assert text.encode() == unquote_to_bytes(segment).replace(b"/", b"%2F")


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda t: "/" not in t), min_size=1)
)
def test_a_path_that_was_quoted_is_read_back(texts: list[str]) -> None:
    raw = "".join(f"/{quote(text, safe='')}" for text in texts).encode()
    assert _route_path(raw) == "/" + "/".join(texts)


@pytest.mark.parametrize("shape", QUERIES, ids=lambda shape: shape.__name__)
@given(raw=queries)
def test_a_query_is_read_or_refused_by_name(shape: Any, raw: bytes) -> None:
    read = unless_refused("DCS.4062", lambda: requests.query(raw, shape))
    if read is None:
        return
    assert isinstance(read, shape)
    for name in ("offset", "limit"):
        assert 0 <= getattr(read, name, 0) < 2**31
    assert math.isfinite(getattr(read, "capacity", None) or 0)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=("Cs",)), min_size=1)))
def test_names_that_are_not_known_are_ignored(known: dict[str, str]) -> None:
    unknown = "&".join(f"x-{name}={quote(text, safe='')}" for name, text in known.items() if "\0" not in text)
    assert requests.query(unknown.encode(), PageQuery) == PageQuery()


@given(st.lists(typed, max_size=6), st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), typed), typed), max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_server_answers_any_path_and_query_in_shape(
    site: Site, tenant: Tenant, below: list[str], query: list[tuple[str, str]]
) -> None:
    """Signed as it is sent, below the project and beside it."""
    asked_for = "&".join("=".join(pair) for pair in query)
    for start in (f"/v2/{tenant.project_id}", f"/v2/{tenant.project_id}/instances", ""):
        target = "/".join([start, *below]) or "/"
        answer = tenant.raw_call("GET", f"{target}?{asked_for}" if asked_for else target)
        assert answer.status in {200, 400, 401, 404, 405}, target
        assert answer.status == 200 or answer.code.startswith("DCS.")


@given(raw=st.lists(st.tuples(st.sampled_from(NAMES), typed), min_size=1, max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.parametrize("path", ["instances", "tasks", "flavors", "instances-logical-nodes", "instances/status"])
def test_the_server_reads_or_refuses_any_query(tenant: Tenant, path: str, raw: list[tuple[str, str]]) -> None:
    query = "&".join("=".join(pair) for pair in raw)
    answer = tenant.raw_call("GET", f"{tenant.path(path)}?{query}")
    assert answer.status == 200 or answer.refusal in {(400, "DCS.4062"), (400, "DCS.4025"), (400, "DCS.4061")} | {
        (404, "DCS.3022")
    }
