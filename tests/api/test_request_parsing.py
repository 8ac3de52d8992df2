"""Decoding of queries and bodies: absent values and rejections."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from cachewright.api import requests, schemas
from cachewright.api.schemas.control import ControlBody, control
from cachewright.api.schemas.flavors import FlavorsQuery
from cachewright.api.schemas.forms import FORMS
from cachewright.api.schemas.instance_bodies import CreateBody, Tag
from cachewright.api.schemas.instance_changes import TagsBody, UpdateBody
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


@pytest.mark.parametrize("pattern", FORMS)
def test_a_text_of_another_form_is_refused_in_words(pattern: str) -> None:
    text = Annotated[str, msgspec.Meta(pattern=pattern)]
    shape: Any = msgspec.defstruct("Body", [("member", text)])
    with pytest.raises(ApiError, match=re.escape(f"Parameter member is not valid: {FORMS[pattern]}")):
        requests.body(b'{"member":"-"}', shape)


def test_an_error_about_a_name_says_which_names_are_valid() -> None:
    with pytest.raises(ApiError) as caught:
        requests.body(b'{"name":"c"}', UpdateBody)
    assert caught.value.message == (
        "name is not valid: it must have 4 to 64 letters, digits, dashes and underscores, and begin with a letter"
    )


def test_each_pattern_of_a_body_or_query_has_words() -> None:
    for module in Path(schemas.__path__[0]).glob("*.py"):
        assert not re.search(r"pattern=(?!forms\.)", module.read_text()), module
