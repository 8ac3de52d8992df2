"""Texts that mislead their readers: tags, descriptions and labels with control characters."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from huaweicloudsdkcore.utils.http_utils import sanitize_for_serialization

from sdk_calls import create_body
from serving import Server

CONTROLS = ["a\0b", "a\nb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\u202eb", "a\u2066b"]
TAGS: list[Mapping[str, str]] = [
    *(
        {"key": text, "value": "v"}
        for text in (*CONTROLS, "<b>", "a/b", "a,b", "a*b", " a", "a ", "_sys_a", "a\u200db")
    ),
    *({"key": "k", "value": text} for text in (*CONTROLS, "<b>", "a,b", " a", "a ", "a\u2028b")),
]
GOOD_TAGS: list[Mapping[str, str]] = [
    {"key": "cost centre_1.2:3=4+5-6@7", "value": "a/b c_1.2:3=4+5-6@7"},
    {"key": "\u6210\u672c", "value": "\u0915\u093f\u0924\u093e\u092c"},
    {"key": "empty", "value": ""},
]


@pytest.mark.parametrize("tag", TAGS, ids=ascii)
def test_tags_that_mislead_are_refused(server: Server, tag: Mapping[str, str]) -> None:
    body = sanitize_for_serialization(create_body()) | {"tags": [{"key": "team"}, tag]}
    status, answer = server.call("POST", "instances", body)
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert "tags[1]." in answer["error_msg"]
    assert not set(CONTROLS) & {answer["error_msg"]}


@pytest.mark.parametrize("text", [text for text in CONTROLS if not set(text) & set("\n\t")] + ["a\rb"], ids=ascii)
def test_descriptions_have_no_control_characters(server: Server, text: str) -> None:
    body = sanitize_for_serialization(create_body())
    status, answer = server.call("POST", "instances", body | {"description": text})
    assert (status, answer["error_code"]) == (400, "DCS.4011")


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("vpc_id", "DCS.4013"),
        ("subnet_id", "DCS.4016"),
        ("security_group_id", "DCS.4014"),
        ("enterprise_project_id", "DCS.4062"),
        ("enterprise_project_name", "DCS.4062"),
    ],
)
def test_labels_have_no_control_characters(server: Server, field: str, code: str) -> None:
    body = sanitize_for_serialization(create_body())
    for text in CONTROLS:
        status, answer = server.call("POST", "instances", body | {field: text})
        assert (status, answer["error_code"]) == (400, code)


def test_tags_and_descriptions_of_an_instance_are_held_to_the_same(server: Server, instance_id: str) -> None:
    def act(action: str, *tags: Mapping[str, str]) -> tuple[int, Any]:
        return server.call("POST", f"dcs/{instance_id}/tags/action", {"action": action, "tags": tags})

    for tag in TAGS:
        assert act("create", tag)[0] == 400, tag
    assert act("create", *GOOD_TAGS)[0] == 204
    shown = server.call("GET", f"instances/{instance_id}/tags")[1]["tags"]
    assert shown == [{"key": "team", "value": "a"}, *GOOD_TAGS]
    assert act("delete", *GOOD_TAGS)[0] == 204
    status, answer = server.call("PUT", f"instances/{instance_id}", {"description": "a\x1b[31mb"})
    assert (status, answer["error_code"]) == (400, "DCS.4011")
    assert server.call("PUT", f"instances/{instance_id}", {"description": "two\nlines\tand a tab"})[0] == 204


def test_tags_that_an_older_release_took_can_be_read_and_deleted(server: Server, instance_id: str) -> None:
    old = [{"key": "a\nb", "value": "<b>\u202e"}]
    with sqlite3.connect(server.data_dir / "cachewright.db", timeout=30) as connection:
        stored = connection.execute("SELECT attributes FROM instances WHERE id = ?", (instance_id,)).fetchone()[0]
        attributes = json.dumps(json.loads(stored) | {"tags": old, "description": "a\0b"})
        connection.execute("UPDATE instances SET attributes = ? WHERE id = ?", (attributes, instance_id))
    connection.close()
    assert server.call("GET", f"instances/{instance_id}/tags")[1]["tags"] == old
    shown = server.call("GET", f"instances/{instance_id}")[1]
    assert (shown["tags"], shown["description"]) == (old, "a\0b")
    path = f"dcs/{instance_id}/tags/action"
    assert server.call("POST", path, {"action": "create", "tags": [{"key": "new", "value": "1"}]})[0] == 204
    assert server.call("POST", path, {"action": "delete", "tags": old})[0] == 204
    assert server.call("GET", f"instances/{instance_id}/tags")[1]["tags"] == [{"key": "new", "value": "1"}]
