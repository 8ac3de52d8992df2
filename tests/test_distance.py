"""Every test is marked by its distance from reality, and fails if it exceeds its mark."""

import pkgutil
import subprocess
from pathlib import Path

import pytest

from distance import DISTANCES, STARTERS, distance_of_command, held_to_mark, marks_of


def test_every_test_has_one_distance(request: pytest.FixtureRequest) -> None:
    marks = {item.nodeid: marks_of(item) for item in request.session.items}
    assert {name: found for name, found in marks.items() if len(found) != 1} == {}


def test_chaos_is_in_a_folder_of_its_own() -> None:
    """`make test` collects that folder alone in its second run."""
    files = (file for file in Path(__file__).parent.rglob("test_*.py") if file != Path(__file__))
    assert {file.parent.name for file in files if "mark.chaos" in file.read_text()} == {"chaos"}


def test_this_module_is_at_the_shortest(request: pytest.FixtureRequest) -> None:
    assert marks_of(request.node) == [DISTANCES[0]]


@pytest.mark.parametrize("name", STARTERS)
def test_what_starts_processes_has_the_name_it_is_known_by(name: str) -> None:
    module, _, member = name.rpartition(".")
    found = pkgutil.resolve_name(f"{module}:{member}")
    assert f"{found.__module__}.{found.__qualname__}" == name


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat a b", "unit"),
        ("python -m cachewright users list", "unit"),
        ("/somewhere/valkey-server --port 0 --tls-replication yes", "unit"),
        ("/somewhere/valkey-server valkey.conf", "node"),
        ("/somewhere/postgres -Ddata", "node"),
        ("python -m cachewright serve --data-dir data", "server"),
        ("python -m cachewright demo", "server"),
        ("playwright/driver/node package/cli.js run-driver", "console"),
    ],
)
def test_a_command_tells_how_far_it_goes(command: str, expected: str) -> None:
    assert distance_of_command(command.split()) == expected


def test_a_test_that_goes_beyond_its_mark_fails(request: pytest.FixtureRequest) -> None:
    with (
        pytest.raises(pytest.fail.Exception, match="a unit test has started 'true valkey-server'"),
        held_to_mark(request.node),
    ):
        subprocess.run(["true", "valkey-server"], check=True)
