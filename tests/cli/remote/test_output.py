"""Tables on standard output end with a newline, whether or not they have rows."""

import pytest

from cachewright.cli.admin.data_dir import print_rows
from cachewright.cli.remote.output import print_table


def test_a_table_without_rows_is_a_line_of_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "ID"), [], right=("ID",))
    assert capsys.readouterr().out == "NAME  ID\n"
    print_rows([], ("name", "id"), as_json=False)
    assert capsys.readouterr().out == "name  id\n"
