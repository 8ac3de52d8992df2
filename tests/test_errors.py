"""The table of error codes, and the page that is made of it."""

import pickle
import re
from pathlib import Path

import pytest

from cachewright.errors import ERRORS, Refusal, Row, render

ROOT = Path(__file__).parent.parent
ROWS = list(ERRORS.values())


def test_the_page_is_the_table() -> None:
    """`python -m cachewright.errors > docs/errors.md` makes it."""
    assert (ROOT / "docs" / "errors.md").read_text() == render()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_row_fits_the_contract(row: Row) -> None:
    assert re.fullmatch(r"DCS\.\d{4}", row.code)
    assert row.status in {0, 400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 500, 503}
    assert row.message
    assert row.remedy


def test_every_code_that_is_used_is_in_the_table() -> None:
    used = {
        (path.name, code)
        for path in (ROOT / "src").rglob("*.py")
        for code in re.findall(r'"(DCS\.\d{4})"', path.read_text())
    }
    assert {(file, code) for file, code in used if code not in ERRORS} == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_a_refusal_has_a_message_with_and_without_its_fields(row: Row) -> None:
    refusal = Refusal(row.code, parameter="name", reason="because {of} this")
    assert "{" not in refusal.message.replace("{of}", "")
    assert Refusal(row.code).message
    assert pickle.loads(pickle.dumps(refusal)).message == refusal.message  # noqa: S301  # made one line above


def test_a_message_is_cut_to_the_contracts_limit() -> None:
    assert len(Refusal("DCS.4062", parameter="x", reason="y" * 5000).message) == 1024


def test_a_code_that_is_not_in_the_table_is_a_fault() -> None:
    with pytest.raises(KeyError):
        Refusal("DCS.0000")
