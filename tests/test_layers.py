"""The package's docstring names the layers that import-linter checks."""

import re
import tomllib
from pathlib import Path

import cachewright

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_the_docstring_lists_the_layers_in_their_order() -> None:
    contracts = tomllib.loads(PROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    expected = [name.strip().removeprefix("cachewright.") for layer in layers for name in layer.split("|")]
    assert re.findall(r"`(\w+)`", cachewright.__doc__ or "") == expected
