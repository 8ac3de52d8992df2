"""The table of error codes, and the page that is generated from it."""

import importlib
import pickle
import pkgutil
import re
from pathlib import Path

import pytest

import cachewright
from cachewright import errors
from cachewright.errors import ERRORS, ApiError, CachewrightError, ErrorRow, render

ROOT = Path(__file__).parent.parent
ROWS = list(ERRORS.values())


def test_the_page_is_the_table() -> None:
    """`python -m cachewright.errors > docs/errors.md` generates it."""
    assert (ROOT / "docs" / "errors.md").read_text() == render()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_row_fits_the_contract(row: ErrorRow) -> None:
    assert re.fullmatch(r"DCS\.\d{4}", row.code)
    assert row.status in {0, 400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 503}
    assert row.message
    assert row.remedy


def test_every_code_has_one_name() -> None:
    names = {value: name for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)}
    assert set(names) == set(ERRORS)


def test_the_drawing_shows_every_exception_and_its_module() -> None:
    for module in pkgutil.walk_packages(cachewright.__path__, "cachewright."):
        if not re.search(r"migrations|__main__", module.name):
            importlib.import_module(module.name)
    drawn = dict(re.findall(r"[├└]── (\w+) +([\w/]+\.py): ", errors.__doc__ or ""))
    found = {
        one.__name__: f"{one.__module__.removeprefix('cachewright.').replace('.', '/')}.py"
        for one in CachewrightError.__subclasses__()
    }
    assert drawn == found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_refusal_has_a_message_with_and_without_its_fields(row: ErrorRow) -> None:
    refusal = ApiError(row.code, parameter="name", reason="because {of} this")
    assert "{" not in refusal.message.replace("{of}", "")
    assert ApiError(row.code).message
    assert pickle.loads(pickle.dumps(refusal)).message == refusal.message  # noqa: S301  # made one line above


def test_a_message_is_cut_to_the_contracts_limit() -> None:
    assert len(ApiError("DCS.4062", parameter="x", reason="y" * 5000).message) == 1024


def test_a_code_that_is_not_in_the_table_is_a_fault() -> None:
    with pytest.raises(KeyError):
        ApiError("DCS.0000")
