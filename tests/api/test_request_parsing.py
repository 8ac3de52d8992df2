"""Decoding of queries and bodies: absent values and rejections."""

from typing import Any

import pytest

from cachewright.api import requests
from cachewright.api.schemas.control import ControlBody, control
from cachewright.api.schemas.flavors import FlavorsQuery
from cachewright.api.schemas.instance_bodies import CreateBody, Tag
from cachewright.api.schemas.instance_changes import TagsBody
from cachewright.api.schemas.instances import InstancesQuery
from cachewright.api.schemas.tasks import ListQuery
from cachewright.errors import ApiError


@pytest.mark.parametrize(
    ("shape", "query", "field"),
    [
        (InstancesQuery, b"status=null", "status"),
        (InstancesQuery, b"status=NULL", "status"),
        (InstancesQuery, b"capacity=null", "capacity"),
        (FlavorsQuery, b"cpu_type=null", "cpu_type"),
        (ListQuery, b"start_time=null", "start_time"),
        (ListQuery, b"limit=null", "limit"),
        (ListQuery, b"=1", "query"),
        (ListQuery, b"limit=1&%6Cimit=2", "limit"),
    ],
)
def test_the_word_null_is_no_value(shape: Any, query: bytes, field: str) -> None:
    with pytest.raises(ApiError, match=r"DCS\.4062") as refused:
        requests.query(query, shape)
    assert field in refused.value.message


def test_a_name_may_be_the_word_null() -> None:
    assert requests.query(b"name=null", InstancesQuery).name == "null"


@pytest.mark.parametrize("query", [b"", b"&&", b"offset=", b"offset=&limit=", b"unknown=null"])
def test_what_is_empty_or_unknown_is_nothing(query: bytes) -> None:
    assert requests.query(query, ListQuery) == ListQuery()


def test_null_is_nothing_however_deep() -> None:
    body = b'{"action": "create", "more": null, "tags": [{"key": "k", "value": null, "more": {"x": null}}]}'
    assert requests.body(body, TagsBody) == TagsBody(action="create", tags=[Tag(key="k")])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"action": "create", "tags": [null]}', "tags[0]"),
        (b'{"action": "create", "tags": [{"key": null}]}', "tags[0].key"),
        (b'{"action": null, "tags": [{"key": "k"}]}', "action"),
    ],
)
def test_null_is_no_value_of_what_is_needed(body: bytes, field: str) -> None:
    with pytest.raises(ApiError) as refused:
        requests.body(body, TagsBody)
    assert field.partition("[")[0] in refused.value.message


def test_the_smallest_body() -> None:
    with pytest.raises(ApiError, match=r"DCS\.4010"):
        requests.body(b"{}", CreateBody)


@pytest.mark.parametrize("body", [b'{"sate": "paused"}', b'{"": null}', b'{"state": "running", "more": null}'])
def test_a_control_has_no_other_members(body: bytes) -> None:
    """A misspelt field must not be taken for an omitted one."""
    with pytest.raises(ApiError, match=r"DCS\.4062.*not known"):
        requests.body(body, ControlBody)


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b"{}", "running"),
        (b'{"wish": "run"}', "running"),
        (b'{"wish": "pause"}', "paused"),
        (b'{"wish": "pause", "state": "running"}', "running"),
        (b'{"wish": "run", "state": "paused"}', "paused"),
        (b'{"wish": null, "state": null}', "running"),
    ],
)
def test_wish_of_version_0_1_0_sets_the_state_where_the_state_is_omitted(body: bytes, state: str) -> None:
    assert control(requests.body(body, ControlBody)).state == state


@pytest.mark.parametrize("body", [b'{"wish": "cancel"}', b'{"wish": "sleep"}', b'{"state": "cancelled"}'])
def test_a_control_body_cannot_cancel(body: bytes) -> None:
    with pytest.raises(ApiError, match=r"DCS\.4062"):
        requests.body(body, ControlBody)
