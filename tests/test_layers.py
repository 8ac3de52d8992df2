"""The package's docstring names the layers that import-linter checks."""

import re
import tomllib
from pathlib import Path

import cachewright

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
SOURCE = Path(str(cachewright.__file__)).parent
_DRIVER = re.compile(r"sqlite3|psycopg|PRAGMA|OperationalError|\.dialect\b|create_engine")
"""Names that only a module for one kind of database may contain."""


def test_the_docstring_lists_the_layers_in_their_order() -> None:
    contracts = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    expected = [name.strip().removeprefix("cachewright.") for layer in layers for name in layer.split("|")]
    assert re.findall(r"`(\w+)`", cachewright.__doc__ or "") == expected


def test_the_store_alone_knows_which_database_there_is() -> None:
    others = [path for path in SOURCE.rglob("*.py") if SOURCE / "store" not in path.parents]
    assert len(others) > 100
    assert [str(path) for path in others if _DRIVER.search(path.read_text())] == []
