"""Arguments of stored sub-steps: every action decodes those that its plans store, now and in earlier releases."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachewright.operations.actions import ACTIONS
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.checks import CheckResources, Room
from cachewright.operations.actions.cluster import JoinCluster
from cachewright.operations.actions.nodes import ReleaseNode, StartNode
from cachewright.operations.actions.slots import MoveSlots

RELEASES = sorted((Path(__file__).parents[1] / "releases").glob("*.sql"))
MOVE = {"source": "a", "target": "b", "first": 0, "last": 9, "keys": 3, "bytes_per_key": 100}


def stored_sub_steps(release: Path) -> Iterator[dict[str, Any]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(release.read_text())
        for (steps,) in database.execute("SELECT steps FROM tasks").fetchall():
            for step in json.loads(steps):
                yield from step["sub_steps"]


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.stem)
def test_sub_steps_that_earlier_releases_stored_have_an_action_that_decodes_them(release: Path) -> None:
    sub_steps = list(stored_sub_steps(release))
    assert {sub_step["action"] for sub_step in sub_steps} >= {"start node", "move slots", "check resources"}
    for sub_step in sub_steps:
        action = ACTIONS[sub_step["action"]]
        arguments = msgspec.to_builtins(action.decode(sub_step["arguments"]))
        assert json.loads(json.dumps(arguments)).items() >= sub_step["arguments"].items()


@pytest.mark.parametrize(
    ("action", "stored", "decoded"),
    [
        ("check resources", {"host_bytes": 1, "disk_bytes": 2, "rooms": [["a", 3, 4]]},
         CheckResources(host_bytes=1, disk_bytes=2, rooms=(Room("a", 3, 4),))),
        ("start node", {"node_id": "a", "founding": True}, StartNode("a", True)),
        ("join cluster", {"node_ids": ["a", "b"]}, JoinCluster(("a", "b"))),
        ("release node", {"node_id": "a", "leaving": ["a"]}, ReleaseNode("a", ("a",))),
        ("stop node", {"node_id": "a"}, NodeArguments("a")),
        ("move slots", MOVE, MoveSlots(**MOVE, spared=False)),
        ("move slots", {**MOVE, "spared": True}, MoveSlots(**MOVE, spared=True)),
    ],
)  # fmt: skip
def test_stored_arguments_are_decoded_to_their_types(action: str, stored: Any, decoded: Any) -> None:
    assert ACTIONS[action].decode(stored) == decoded


def test_an_action_is_found_by_the_name_that_it_declares() -> None:
    assert all(name == action.name for name, action in ACTIONS.items())
    assert len(ACTIONS) == 22
